//! What systemd does in a world: units are met, started, and have their effect.

use super::parts::engine_with;
use super::world::World;
use crate::desired::modes::Module;
use crate::desired::{self, paths, units};
use crate::observe::runtime::Engine;

impl World {
    pub(super) fn reload(&mut self) {
        for (name, state) in &mut self.observed.units {
            let Ok(state) = state else { continue };
            state.needs_reload = false;
            let has_file = matches!(self.observed.files.get(&paths::units().join(name)), Some(Ok(Some(_))));
            if has_file && state.load == "not-found" {
                "loaded".clone_into(&mut state.load);
            }
        }
    }

    /// Starts a unit; where the machine is slow, a runtime is only on its way after that.
    pub(super) fn start(&mut self, name: &str, at: i64) {
        let is_slow = self.is_slow && [units::DOCKER, units::CRI_DOCKERD].contains(&name);
        if !is_slow || self.unit(name).is_none_or(|state| state.is_active()) {
            return self.is_up(name, at);
        }
        // Longer than all that need not wait for it.
        self.starts_for = 20;
        if let Some(state) = self.unit(name) {
            "activating".clone_into(&mut state.active);
            "start".clone_into(&mut state.sub);
        }
    }

    /// A unit that was on its way is up; whether it was.
    pub(super) fn come_up(&mut self, name: &str, at: i64) -> bool {
        let is_coming =
            self.unit(name).is_some_and(|state| state.active == "activating" && !state.is_failing());
        if is_coming {
            self.is_up(name, at);
        }
        is_coming
    }

    fn is_up(&mut self, name: &str, at: i64) {
        match name {
            units::SYSCTL => {
                for (name, wanted) in desired::files::SYSCTLS {
                    self.observed.sysctls.insert(name, Some((*wanted).to_owned()));
                }
                return;
            }
            units::MODULES => {
                self.observed.facts.modes.ipvs = Module::Present;
                self.observed
                    .sysctls
                    .values_mut()
                    .for_each(|value| *value = value.take().or(Some("0".to_owned())));
                return;
            }
            units::DOCKER => {
                let driver = if self.observed.facts.cgroup_v2 { "systemd" } else { "cgroupfs" };
                let shim = self.observed.engine.shim.clone();
                self.observed.engine = Engine { has_sandbox_image: true, shim, ..engine_with(driver) };
            }
            units::CONTAINERD => {
                // Its own default, where its configuration says nothing.
                let driver = self.observed.facts.containerd.cgroup_driver.unwrap_or("cgroupfs");
                self.observed.engine = Engine { has_sandbox_image: true, ..engine_with(driver) };
            }
            units::CRI_DOCKERD => self.observed.engine.shim = Ok(()),
            units::KUBELET => self.observed.kubelet_health = Ok(()),
            units::IMAGES => self.observed.engine.has_sandbox_image = true,
            units::PROXY_CLEANUP => return self.clean_up_after_proxy(),
            units::FORWARD | units::FIREWALL => (),
            units::PORT_4194 => return,
            _ => self.observed.proxy_health = Ok(()),
        }
        if let Some(state) = self.unit(name) {
            "active".clone_into(&mut state.active);
            state.active_since_usec = u64::try_from(at).unwrap();
        }
    }
}
