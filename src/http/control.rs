//! Pause and resume, through the control topic that running instances follow.

use crate::engine::EngineParts;
use crate::engine::deploy::{DeployContext, DeployError, operations};

/// Why a topology could not be paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is none of this name.
    #[error("there is no topology {0}")]
    Unknown(String),
    /// Not in this state: why.
    #[error("{0}")]
    Refused(String),
    /// The log is away; try again.
    #[error("{0}")]
    Unavailable(String),
}

/// Pauses and resumes topologies; calls may block.
pub trait Control: Send + Sync {
    /// Stops consuming; state stays and answers.
    fn pause(&self, topology: &str) -> Result<(), ControlError>;
    /// Goes on.
    fn resume(&self, topology: &str) -> Result<(), ControlError>;
}

/// Writes the control topic of the application that an engine runs.
pub struct EngineControl(pub EngineParts);

impl EngineControl {
    fn context(&self) -> DeployContext<'_> {
        DeployContext {
            log: &*self.0.log,
            schemas: &self.0.schemas,
            settings: &self.0.settings,
        }
    }
}

impl Control for EngineControl {
    fn pause(&self, topology: &str) -> Result<(), ControlError> {
        Ok(operations::pause(&self.context(), topology)?)
    }

    fn resume(&self, topology: &str) -> Result<(), ControlError> {
        Ok(operations::resume(&self.context(), topology)?)
    }
}

impl From<DeployError> for ControlError {
    fn from(error: DeployError) -> Self {
        match error {
            DeployError::Problems(_) => Self::Refused(error.to_string()),
            DeployError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}
