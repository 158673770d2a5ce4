//! The identity of an instance: an id kept in the data directory, and a lock on the directory, so that no second process takes the same
//! consumer-group places and transactional ids.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;

/// An instance that holds its data directory.
pub struct Instance {
    id: String,
    // Locked as long as it is open.
    _lock: File,
}

impl Instance {
    /// Locks a data directory and reads the instance's id, making both where they are missing.
    ///
    /// # Errors
    /// With what to do: another process uses the directory, or it cannot be written.
    pub fn open(directory: &Path) -> Result<Self, String> {
        Self::open_as(directory, None)
    }

    /// As [`Self::open`], with an id that was given: it is the same when the directory is lost.
    ///
    /// # Errors
    /// As [`Self::open`], and for an id that cannot be part of the names that it goes into.
    pub fn open_as(directory: &Path, given: Option<&str>) -> Result<Self, String> {
        if let Some(id) = given
            && !is_id(id)
        {
            return Err(format!(
                "instance-id = {id}: it takes up to 64 letters, digits, - and _"
            ));
        }
        let io = |what: &str, e: std::io::Error| format!("{what} {}: {e}", directory.display());
        std::fs::create_dir_all(directory).map_err(|e| io("the data directory cannot be made:", e))?;
        let path = directory.join("instance.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|e| io("the lock cannot be opened in", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "another process uses the data directory {}; stop it, or give this one a directory of its own with --data-dir",
                    directory.display()
                ));
            }
            Err(TryLockError::Error(e)) => return Err(io("the data directory cannot be locked:", e)),
        }
        let path = directory.join("instance");
        let id = match std::fs::read_to_string(&path) {
            _ if given.is_some() => given.unwrap_or_default().to_owned(),
            Ok(text) if is_id(text.trim()) => text.trim().to_string(),
            Ok(_) => {
                return Err(format!(
                    "{} holds no instance id; delete it to get a new one",
                    path.display()
                ));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let id = uuid::Uuid::new_v4().simple().to_string()[..12].to_string();
                write_whole(directory, &path, &id).map_err(|e| io("the instance id cannot be written in", e))?;
                id
            }
            Err(e) => return Err(io("the instance id cannot be read in", e)),
        };
        Ok(Self { id, _lock: lock })
    }

    /// The id: part of `group.instance.id` and `transactional.id`.
    pub fn id(&self) -> &str {
        &self.id
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Either the whole file is there afterwards or none.
fn write_whole(directory: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = directory.join("instance.new");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stays_and_the_directory_has_one_user() {
        let directory = std::env::temp_dir().join(format!("millstream-instance-{}", uuid::Uuid::new_v4()));
        let first = Instance::open(&directory).unwrap();
        let id = first.id().to_string();
        let refused = Instance::open(&directory).err().unwrap();
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(first);
        assert_eq!(Instance::open(&directory).unwrap().id(), id);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
