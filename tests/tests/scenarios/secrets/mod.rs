//! Secrets leak nowhere: a join at full verbosity and whatever goes wrong after it, on real parts. Each place that is
//! searched also holds a canary, which the same search finds.

mod custody;
mod errors;
mod places;
use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::scenario::{JOIN, NODE, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::leaks::{Needles, Seen, Watch};
use lab::{Minor, wait_until};
use places::Spoken;

/// Before the daemon's first start: all it can say, and a journal that drops none of it.
const VERBOSE: &[(&str, &str)] = &[
    ("/etc/systemd/system/kn-agent.service.d/verbose.conf", "[Service]\nEnvironment=KN_AGENT_LOG=trace\n"),
    ("/etc/systemd/journald.conf.d/all.conf", "[Journal]\nRateLimitIntervalSec=0\nRateLimitBurst=0\n"),
];

/// Traced, a join takes twice as long as otherwise; one that takes longer is told step by step.
const SLOW: Duration = Duration::from_secs(20);

/// As systemd starts the daemon.
const DAEMON: &str = "/usr/bin/kn-agent\0run\0";

/// What PID 1 is made to start while the watch looks.
const SYSTEMCTL: &[u8] = b"systemctl\0--version\0";

/// A cluster and a machine, what was said there, and what must not have been.
struct Case {
    scenario: Scenario,
    spoken: Spoken,
    secrets: Needles,
    canary: Needles,
    planted: String,
    bus: Child,
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

impl Case {
    fn start() -> Result<Self> {
        let scenario = Scenario::start("secrets", Minor::V1_36)?;
        let node = &scenario.node;
        for (path, text) in VERBOSE {
            node.put(path, text, 0o644)?;
        }
        node.exec(&["systemctl", "daemon-reload"])?;
        node.exec(&["systemctl", "restart", "systemd-journald"])?;
        let directory = scenario.control_plane.run().directory().join("leaks");
        std::fs::create_dir_all(&directory)?;
        // Whole messages: the default cuts them at 4 KiB.
        let mut bus = node.command(&["busctl", "capture", "--size=16M"])?;
        let bus = bus.stdin(Stdio::null()).stdout(File::create(directory.join("bus"))?);
        let bus = bus.stderr(File::create(directory.join("bus.err"))?).spawn()?;
        let key = rcgen::KeyPair::generate()?.serialize_pem();
        let (canary, planted) = Needles::canary("kanari.zwitschertlaut00", &key);
        let spoken = Spoken::new(&directory)?;
        let case = Self { scenario, spoken, secrets: Needles::default(), canary, planted, bus };
        wait_until("the bus to be listened to", JOIN, || {
            // Its header, then the answers to its own requests.
            Ok((std::fs::metadata(directory.join("bus"))?.len() > 0).then_some(()))
        })?;
        Ok(case)
    }

    /// Learns the tokens in a configuration.
    fn learn(&mut self, config: &str) -> Result<()> {
        let value = config.lines().find_map(|line| line.trim_start().strip_prefix("value: "));
        self.secrets.token(value.context("no token in the configuration")?.trim());
        Ok(())
    }

    /// A join, with a token that nobody else has seen.
    fn joins(&mut self) -> Result<()> {
        let config = self.scenario.fresh_config()?;
        self.learn(&config)?;
        let begun = Instant::now();
        self.scenario.configure(&config)?;
        self.scenario.wait_ready(2 * JOIN)?;
        if begun.elapsed() > SLOW {
            lab::say(format_args!("a slow join: {}", self.scenario.node.exec(&["kn-agent", "timeline"])?));
        }
        Ok(())
    }

    /// A renewal of kube-proxy's certificate, to its end.
    fn renews(&self) -> Result<()> {
        const FILE: &str = "/var/lib/kube-proxy/pki/kube-proxy-client.pem";
        let node = &self.scenario.node;
        let before = node.get(FILE)?;
        self.spoken.agent(node, &["certs", "renew", "kube-proxy"])?;
        wait_until("another certificate of kube-proxy's", JOIN, || {
            Ok((node.get(FILE)? != before).then_some(()))
        })
        .with_context(|| self.scenario.describe())
    }
}

/// The watch sees what the daemon starts: the kubelet, which it asks for its version. systemctl it sees with others.
fn systemd_is_asked_over_the_bus_alone(seen: &Seen) -> Result<()> {
    let of_agent = &seen.by_agent;
    ensure!(of_agent.iter().any(|file| file.ends_with("/kubelet")), "the daemon started {of_agent:?}");
    ensure!(
        !of_agent.iter().any(|file| file.ends_with("ctl") && !file.ends_with("/journalctl")),
        "{of_agent:?}"
    );
    let others = seen.programs.windows(SYSTEMCTL.len()).any(|words| words == SYSTEMCTL);
    ensure!(others, "the watch does not see systemctl");
    Ok(())
}

#[test]
fn secrets_leak_nowhere() -> Result<()> {
    let begun = Instant::now();
    let took = |what: &str| lab::say(format_args!("{what}: {:.1} s", begun.elapsed().as_secs_f32()));
    let mut case = Case::start()?;
    took("set up");
    let watch = Watch::start(&case.scenario.node, DAEMON)?;
    case.joins()?;
    took("joined");
    case.renews()?;
    case.renews()?;
    places::plant_in_a_program(&case)?;
    case.scenario.node.exec(&["systemd-run", "--quiet", "--wait", "systemctl", "--version"])?;
    let seen = watch.finish(&case.scenario.node)?;
    took("renewed twice");
    systemd_is_asked_over_the_bus_alone(&seen)?;

    custody::files_of_secrets_are_private_from_the_start(&mut case, &seen)?;
    custody::every_renewal_has_a_key_of_its_own(&case)?;
    custody::nothing_of_the_daemon_can_be_dumped(&case)?;
    took("keys looked at");
    errors::all(&mut case)?;
    took("errors made");
    places::search(&mut case, &seen)?;
    took("searched");
    lab::say(format_args!("{} forms of secrets of {NODE} found in no place", case.secrets.count()));
    Ok(())
}
