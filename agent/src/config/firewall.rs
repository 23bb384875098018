//! Who reaches this node's ports.

use super::fragment::{FirewallFragment, RestrictionFragment};
use super::problem::shown;
use super::validate::Check;
use super::{Firewall, Restriction};
use crate::names::Cidr;

impl Check<'_> {
    pub(super) fn firewall(&mut self, fragment: FirewallFragment) -> Firewall {
        let mut restrict: Vec<Restriction> = Vec::new();
        for (index, restriction) in fragment.restrict.unwrap_or_default().into_iter().enumerate() {
            let path = format!("firewall.restrict[{index}]");
            let Some(restriction) = self.restriction(&path, restriction) else { continue };
            if restrict.iter().any(|known| known.port == restriction.port) {
                let message = format!("port {} is restricted already", restriction.port);
                self.refuse_in_list(&path, &message, "put all its networks into one list");
            }
            restrict.push(restriction);
        }
        Firewall { restrict }
    }

    fn restriction(&mut self, path: &str, fragment: RestrictionFragment) -> Option<Restriction> {
        let (given, networks) = (fragment.port, fragment.allow.unwrap_or_default());
        let port = given.as_deref().and_then(|text| text.parse().ok()).filter(|port| *port != 0);
        if port.is_none() && !self.findings.excuses(&format!("{path}.port")) {
            let found =
                given.map_or_else(|| "missing".to_owned(), |text| format!("`{}` is no port", shown(&text)));
            self.refuse_in_list(
                &format!("{path}.port"),
                &found,
                "write a number from 1 to 65535, e.g. `port: 10250`",
            );
        }
        let mut allow = Vec::new();
        for (index, text) in networks.iter().enumerate() {
            match text.parse::<Cidr>() {
                Ok(network) => allow.push(network),
                Err(error) => {
                    let hint = "a single address is a block too, e.g. 10.0.0.7/32";
                    self.refuse_in_list(&format!("{path}.allow[{index}]"), &error.to_string(), hint);
                }
            }
        }
        if networks.is_empty() && !self.findings.excuses(&format!("{path}.allow")) {
            let hint = "name the networks that may reach it, the API servers' among them";
            self.refuse_in_list(&format!("{path}.allow"), "nobody would reach this port", hint);
        }
        Some(Restriction { port: port?, allow })
    }

    /// A problem with what is written in a list.
    fn refuse_in_list(&mut self, path: &str, message: &str, hint: &str) {
        let problem = self.provenance.problem(path, message, Some(hint));
        self.findings.add(problem);
    }
}
