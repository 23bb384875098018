//! A cluster that was set up anew at the same address: nothing of the old one is left, its certificate authority neither.

use std::fs;

use anyhow::Result;

use super::{Component, ControlPlane};
use crate::pki::Pki;

impl ControlPlane {
    /// Throws the cluster away and sets another one up where it was. Its authority has the same name and another key.
    pub fn rebuild(&mut self) -> Result<()> {
        for component in Component::ALL.into_iter().rev() {
            self.kill_component(component);
        }
        fs::remove_dir_all(self.run.directory().join("etcd"))?;
        self.pki = Pki::create(self.run.subdirectory("pki")?)?;
        self.write_identities()?;
        Component::ALL.into_iter().try_for_each(|component| self.start_component(component))
    }
}
