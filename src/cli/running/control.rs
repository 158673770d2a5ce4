//! Pause and resume over HTTP: the same records in the control topic as the commands write.

use std::sync::Arc;

use crate::engine::EngineSettings;
use crate::engine::deploy::{DeployContext, DeployError, operations};
use crate::formats::SchemaSource;
use crate::http::{Control, ControlError};
use crate::log::Log;

/// Writes what is wanted into the control topic.
pub struct ByLog {
    log: Arc<dyn Log>,
    schemas: Arc<dyn SchemaSource>,
    settings: EngineSettings,
}

impl ByLog {
    /// Over this log.
    pub fn new(log: Arc<dyn Log>, schemas: Arc<dyn SchemaSource>, settings: EngineSettings) -> Self {
        Self { log, schemas, settings }
    }

    fn context(&self) -> DeployContext<'_> {
        DeployContext {
            log: &*self.log,
            schemas: &self.schemas,
            settings: &self.settings,
        }
    }
}

fn classify(error: DeployError) -> ControlError {
    match error {
        DeployError::Unavailable(reason) => ControlError::Unavailable(reason),
        DeployError::Problems(_) => ControlError::Refused(error.to_string()),
    }
}

impl Control for ByLog {
    fn pause(&self, topology: &str) -> Result<(), ControlError> {
        operations::pause(&self.context(), topology).map_err(classify)
    }

    fn resume(&self, topology: &str) -> Result<(), ControlError> {
        operations::resume(&self.context(), topology).map_err(classify)
    }
}
