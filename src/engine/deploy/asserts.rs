//! ASSERT: what must hold of topics and schemas before a topology is deployed. Nothing is changed when it does not.

use std::time::Duration;

use super::{DeployContext, DeployError, Problem};
use crate::topology::{Assert, Asserted, Topology};

/// How often an ASSERT with a TIMEOUT looks again.
const AGAIN: Duration = Duration::from_millis(500);

/// Checks the assertions of a file that is deployed for the first time, each within its TIMEOUT.
///
/// # Errors
/// When Kafka or the registry is away.
pub fn check(context: &DeployContext<'_>, topology: &Topology, problems: &mut Vec<Problem>) -> Result<(), DeployError> {
    for assert in &topology.asserts {
        let rounds = assert.timeout_ms.unwrap_or(0) / u64::try_from(AGAIN.as_millis()).unwrap_or(1);
        let mut found = look(context, topology, assert)?;
        for _ in 0..rounds {
            if found.is_ok() {
                break;
            }
            std::thread::sleep(AGAIN);
            found = look(context, topology, assert)?;
        }
        if let Err(message) = found {
            problems.push(Problem {
                topology: topology.name.clone(),
                message: format!("an assertion of the file does not hold: {message}"),
                hint: format!("{}; nothing was deployed", assert.sql),
            });
        }
    }
    Ok(())
}

/// Whether it holds now; what is the case if not.
fn look(context: &DeployContext<'_>, topology: &Topology, assert: &Assert) -> Result<Result<(), String>, DeployError> {
    let name = &topology.name;
    let wrong = match &assert.what {
        Asserted::Topic { replicas: Some(_), .. } => Some("REPLICAS is not known here: leave it out".into()),
        Asserted::Topic {
            name: topic,
            partitions,
            replicas: None,
        } => {
            let info = context
                .log
                .admin()
                .topics(&[topic])
                .map_err(|e| DeployError::log(name, e))?;
            match info.into_iter().next().flatten() {
                None => Some(format!("there is no topic {topic}")),
                Some(info) => partitions
                    .filter(|wanted| *wanted != info.partitions)
                    .map(|wanted| format!("topic {topic} has {} partitions, not {wanted}", info.partitions)),
            }
        }
        Asserted::Schema { subject, id } => {
            let away = |subject: &str, e| DeployError::registry(name, subject, e);
            match (subject, id) {
                (Some(subject), id) => {
                    let latest = context.schemas.latest(subject).map_err(|e| away(subject, e))?;
                    match (latest, id) {
                        (None, _) => Some(format!("there is no schema {subject}")),
                        (Some(latest), Some(id)) if latest.id != *id => {
                            Some(format!("the schema {subject} has the id {}, not {id}", latest.id))
                        }
                        (Some(_), _) => None,
                    }
                }
                (None, Some(id)) => match context.schemas.by_id(*id) {
                    Ok(_) => None,
                    Err(e) if e.is_retryable() => return Err(away("by id", e)),
                    Err(_) => Some(format!("there is no schema with the id {id}")),
                },
                (None, None) => None,
            }
        }
    };
    Ok(match (wrong, assert.absent) {
        (None, false) | (Some(_), true) => Ok(()),
        (Some(wrong), false) => Err(wrong),
        (None, true) => Err("what must not exist does".into()),
    })
}
