//! A share of one core for a process, by the system's control groups (version 2, or 1):
//! so that a box is short of time while whoever calls it is not.

use std::fs;
use std::path::{Path, PathBuf};

/// Long enough to be kept to, short enough not to be seen.
const PERIOD_US: u32 = 10_000;

/// A group with a quota, gone when this is dropped; what it held is free again.
#[derive(Debug)]
pub struct Quota(PathBuf);

impl Quota {
    /// So many percent of one core, for one process and what it starts.
    ///
    /// # Errors
    /// Why that cannot be had here.
    pub fn give(process: u32, percent: u32) -> Result<Self, String> {
        let name = format!("offhook-{process}");
        let quota_us = PERIOD_US / 100 * percent;
        let unified = Path::new("/sys/fs/cgroup");
        let group = if unified.join("cgroup.controllers").exists() {
            let group = Self::make(unified.join(name))?;
            write(unified.join("cgroup.subtree_control"), "+cpu")?;
            write(group.0.join("cpu.max"), format!("{quota_us} {PERIOD_US}"))?;
            group
        } else {
            let group = Self::make(unified.join("cpu").join(name))?;
            write(group.0.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            write(group.0.join("cpu.cfs_quota_us"), quota_us.to_string())?;
            group
        };
        write(group.0.join("cgroup.procs"), process.to_string())?;
        Ok(group)
    }

    fn make(folder: PathBuf) -> Result<Self, String> {
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let held = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        let above = self.0.parent().map(|it| it.join("cgroup.procs"));
        for process in held.lines() {
            // One that has ended meanwhile needs no place.
            let _ = above.as_ref().map(|above| fs::write(above, process));
        }
        let _ = fs::remove_dir(&self.0);
    }
}

fn write(file: PathBuf, text: impl AsRef<[u8]>) -> Result<(), String> {
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
}
