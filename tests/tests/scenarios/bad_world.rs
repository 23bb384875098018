//! A world that is not as it should be: each trouble has a reason of its own within 10 s, its message names what it is
//! about, and the node goes on by itself once it is mended. The daemon is the same process before and after.

use std::time::{Duration, Instant};

use crate::scenario::{DROP_IN, JOIN, NODE, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::{Component, ControlPlane, Minor, wait_until};

/// Within this a trouble has to be told.
const SEEN: Duration = Duration::from_secs(10);

/// After this the API server comes back; `LONG=1` has it away for longer than every backoff.
const AWAY: Duration = Duration::from_secs(10);
const AWAY_LONG: Duration = Duration::from_mins(2);

/// No backoff is longer than 30 s.
const HEALED: Duration = Duration::from_secs(45);

/// What gives no signal is looked at half a minute later at the latest.
const LOOKED_AGAIN: Duration = Duration::from_secs(35);

/// How another token is made.
const NEW_TOKEN: &str = "kn-agent token create --node NAME --print token";

/// What docker ends for.
const DOCKER_ENDS: &str = "runtime: {daemonJson: {no-such-key: 1}}\n";

/// The first of the marks that `text` lacks.
fn lacking<'a>(text: &str, marks: &[&'a str]) -> Option<&'a str> {
    marks.iter().find(|mark| !text.contains(**mark)).copied()
}

/// A world with one trouble at a time.
struct World {
    scenario: Scenario,
}

impl World {
    /// Waits for the reason, in a message and a remedy that name all of `named`; what they say, and who says it.
    fn trouble(&self, reason: &str, named: &[&str]) -> Result<(String, String)> {
        let begun = Instant::now();
        let told = self.scenario.wait_trouble(reason, named, SEEN)?;
        let seconds = begun.elapsed().as_secs_f32();
        lab::say(format_args!("{reason} after {seconds:.1} s: {told}"));
        Ok((told, self.scenario.incarnation()?))
    }

    /// Waits until the node is Ready; the daemon has to be the one that told the trouble.
    fn healed(&self, incarnation: &str) -> Result<()> {
        let begun = Instant::now();
        self.scenario.wait_ready(HEALED)?;
        lab::say(format_args!("  Ready {:.1} s after it was mended", begun.elapsed().as_secs_f32()));
        let after = self.scenario.incarnation()?;
        ensure!(after == incarnation, "the daemon was restarted: {incarnation:?}, then {after:?}");
        Ok(())
    }

    /// The configuration with a drop-in over it, on a machine that has forgotten its last join.
    fn join_with(&self, drop_in: &str) -> Result<()> {
        let config = self.scenario.fresh_config()?;
        self.scenario.forget()?;
        self.scenario.node.put(DROP_IN, drop_in, 0o600)?;
        self.scenario.configure(&config)
    }

    fn mend_configuration(&self) -> Result<()> {
        self.scenario.node.exec(&["rm", DROP_IN]).map(drop)
    }

    /// The configuration with another token than its own.
    fn config_with_token(&self, token: &str) -> Result<String> {
        let right = self.scenario.fresh_config()?;
        let value = right.lines().find(|line| line.trim_start().starts_with("value: "));
        Ok(right.replace(value.context("no token in the configuration")?.trim(), token))
    }

    fn api_server_away_at_the_start(&mut self) -> Result<()> {
        let away = if std::env::var_os("LONG").is_some() { AWAY_LONG } else { AWAY };
        let config = self.scenario.fresh_config()?;
        self.scenario.forget()?;
        self.scenario.control_plane.stop_component(Component::ApiServer);
        let server = self.scenario.control_plane.server();
        self.scenario.configure(&config)?;
        let begun = Instant::now();
        let (_, daemon) =
            self.trouble("ApiUnreachable", &["CertificateSigningRequest `kn-kubelet-", &server])?;
        std::thread::sleep(away.saturating_sub(begun.elapsed()));
        self.trouble("ApiUnreachable", &[])?;
        // Approver and signer look again only after up to half a minute; begun anew, it is the agent that is measured.
        self.scenario.control_plane.stop_component(Component::ControllerManager);
        self.scenario.control_plane.start_component(Component::ApiServer)?;
        self.scenario.control_plane.start_component(Component::ControllerManager)?;
        self.healed(&daemon)
    }

    fn token_nobody_knows(&self) -> Result<()> {
        self.join_with("identity: {token: {value: zzzzzz.0123456789abcdef}}\n")?;
        let (_, daemon) = self.trouble(
            "Unauthorized",
            &["CertificateSigningRequest `kn-kubelet-", "bootstrap token zzzzzz", NEW_TOKEN],
        )?;
        self.mend_configuration()?;
        self.healed(&daemon)
    }

    /// Mended as the hint says: the file is replaced, the configuration stays.
    fn token_that_expired(&self) -> Result<()> {
        const FILE: &str = "/etc/kn-agent/token";
        let token = |ttl| self.scenario.agent(&["token", "create", "--node", NODE, "--ttl", ttl]);
        let short = token("1s")?;
        let made = Instant::now();
        self.scenario.forget()?;
        self.scenario.node.put(FILE, short, 0o600)?;
        let config = self.config_with_token(&format!("file: {FILE}"))?;
        std::thread::sleep(Duration::from_secs(2).saturating_sub(made.elapsed()));
        self.scenario.configure(&config)?;
        let (_, daemon) = self.trouble("Unauthorized", &[&format!("the token in `{FILE}`"), NEW_TOKEN])?;
        self.scenario.node.put(FILE, token("1h")?, 0o600)?;
        self.healed(&daemon)
    }

    fn certificate_authority_of_another_cluster(&self) -> Result<()> {
        let key = rcgen::KeyPair::generate()?;
        let mut authority = rcgen::CertificateParams::default();
        // The same name as the right one: only the signature tells them apart.
        authority.distinguished_name.push(rcgen::DnType::CommonName, "kn-agent lab");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = authority.self_signed(&key)?.pem();
        self.join_with(&format!("cluster: {{ca: {{data: {pem:?}}}}}\n"))?;
        let (_, daemon) = self.trouble(
            "ApiUntrusted",
            &[
                "CertificateSigningRequest `kn-kubelet-",
                &self.scenario.control_plane.server(),
                "cluster.ca is not",
            ],
        )?;
        self.mend_configuration()?;
        self.healed(&daemon)
    }

    fn binding_that_is_missing(&self) -> Result<()> {
        const BINDING: &str = "kn-agent:node-bootstrapper";
        self.scenario.control_plane.kubectl()?.run(&["delete", "clusterrolebinding", BINDING])?;
        self.join_with("{}\n")?;
        let named = format!("ClusterRoleBinding `{BINDING}`");
        let (_, daemon) =
            self.trouble("Forbidden", &[&named, "system:bootstrap:", "kn-agent cluster init"])?;
        self.scenario.set_up_cluster()?;
        self.healed(&daemon)
    }

    fn request_that_waits_is_denied_and_approved(&self) -> Result<()> {
        let kubectl = self.scenario.control_plane.kubectl()?;
        self.scenario.forget()?;
        let unseen = ["token", "create", "--any-node", "--print", "config"];
        self.scenario.configure(&self.scenario.agent(&unseen)?)?;
        let (pending, daemon) = self.trouble("CsrPending", &["CSR `kn-kubelet-", "waits for approval"])?;
        let name = pending.split('`').nth(1).context("no name in it")?;

        let mut request = kubectl.get(&["csr", name])?;
        request["status"]["conditions"] = serde_json::json!([
            {"type": "Denied", "status": "True", "reason": "NotOurs", "message": "ask in room 5"}
        ]);
        let uri = format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}/approval");
        let file = self.scenario.control_plane.run().directory().join("denied.json");
        std::fs::write(&file, request.to_string())?;
        kubectl.run(&["replace", "--raw", &uri, "-f", &file.to_string_lossy()])?;
        self.trouble("CsrDenied", &[name, "NotOurs: ask in room 5"])?;
        kubectl.run(&["delete", "csr", name])?;
        self.trouble("CsrPending", &[name, "waits for approval"])?;
        kubectl.run(&["certificate", "approve", name])?;
        self.healed(&daemon)
    }

    /// As in clusters that were made by hand: 32 digits, the same on every machine. A person approves.
    fn token_of_the_static_token_file(&self) -> Result<()> {
        let config = self.config_with_token(&format!("value: {}", ControlPlane::STATIC_TOKEN))?;
        self.scenario.forget()?;
        self.scenario.configure(&config)?;
        let user = ControlPlane::STATIC_USER;
        let (_, daemon) = self.trouble("Forbidden", &["kn-agent cluster init", user])?;
        self.scenario.set_up_cluster_with(&["--static-user", user])?;
        let (pending, _) = self.trouble("CsrPending", &["CSR `kn-kubelet-", "waits for approval"])?;
        self.kubectl(&["certificate", "approve", pending.split('`').nth(1).context("no name in it")?])?;
        self.healed(&daemon)
    }

    fn disk_that_is_full(&self) -> Result<()> {
        const DIRECTORY: &str = "/etc/kubernetes";
        const FULL: &str =
            "mkdir -p $1; mount -t tmpfs -o size=4k tmpfs $1; head -c 4096 /dev/zero > $1/filler";
        let config = self.scenario.fresh_config()?;
        self.scenario.forget()?;
        self.scenario.node.sh(FULL, &[DIRECTORY])?;
        self.scenario.configure(&config)?;
        let (_, daemon) = self.trouble("DiskFull", &["`/etc/kubernetes/pki/ca.crt`"])?;
        self.scenario.node.exec(&["umount", DIRECTORY])?;
        self.healed(&daemon)
    }

    /// On a machine whose docker has not run yet: its first start fails.
    fn docker_that_fails_a_join(&self) -> Result<()> {
        let node = &self.scenario.node;
        ensure!(self.scenario.unit("docker.service", "ActiveState")? == "inactive", "docker ran before");
        node.sh("cp /etc/docker/daemon.json /root/", &[])?;
        self.join_with(DOCKER_ENDS)?;
        let (_, daemon) = self.trouble("RuntimeCrashLoop", &["`docker.service`", "no-such-key"])?;
        self.docker_is_mended(&daemon)
    }

    fn docker_that_does_not_start(&self) -> Result<()> {
        let node = &self.scenario.node;
        node.sh("cp /etc/docker/daemon.json /root/", &[])?;
        node.put(DROP_IN, DOCKER_ENDS, 0o600)?;
        wait_until("daemon.json to be written", SEEN, || {
            Ok(node.exec(&["cat", "/etc/docker/daemon.json"])?.contains("no-such-key").then_some(()))
        })?;
        // On a joined node docker is not restarted for it; whoever restarts it meets it.
        // The daemon starts it anew at once, which may cancel the socket's stop: that docker went down shows in what it
        // meets then.
        node.try_exec(&["systemctl", "stop", "docker.service", "docker.socket"])?;
        let (_, daemon) = self.trouble("RuntimeCrashLoop", &["`docker.service`", "no-such-key"])?;
        self.docker_is_mended(&daemon)
    }

    /// First the cause, then its effect: an agent that still has the key in its configuration would write it again.
    fn docker_is_mended(&self, daemon: &str) -> Result<()> {
        let node = &self.scenario.node;
        let before = self.scenario.loads()?;
        self.mend_configuration()?;
        wait_until("the configuration to be read again", SEEN, || {
            Ok((self.scenario.loads()? > before).then_some(()))
        })?;
        node.exec(&["cp", "/root/daemon.json", "/etc/docker/daemon.json"])?;
        self.healed(daemon)
    }

    /// Their units stay active, and nobody answers. The kubelet is left alone: it waits for them, too.
    fn runtime_that_hangs(&self) -> Result<()> {
        for (unit, named) in
            [("docker.service", "docker: no answer"), ("cri-docker.service", "cri-dockerd gives no answer")]
        {
            let kubelet = self.scenario.unit("kubelet.service", "MainPID")?;
            let pid = self.scenario.unit(unit, "MainPID")?;
            self.scenario.node.exec(&["kill", "-STOP", &pid])?;
            let begun = Instant::now();
            let told = self.scenario.wait_trouble("RuntimeUnresponsive", &[named], LOOKED_AGAIN);
            ensure!(self.scenario.unit(unit, "ActiveState")? == "active", "{unit} is down");
            self.scenario.node.exec(&["kill", "-CONT", &pid])?;
            lab::say(format_args!(
                "RuntimeUnresponsive after {:.1} s: {}",
                begun.elapsed().as_secs_f32(),
                told?
            ));
            self.healed(&self.scenario.incarnation()?)?;
            ensure!(self.scenario.unit(unit, "MainPID")? == pid, "{unit} was restarted");
            ensure!(
                self.scenario.unit("kubelet.service", "MainPID")? == kubelet,
                "the kubelet was restarted"
            );
        }
        Ok(())
    }

    fn kubectl(&self, words: &[&str]) -> Result<()> {
        self.scenario.control_plane.kubectl()?.run(words).map(drop)
    }

    /// Waits until it is told, or not any more, that the Node is cordoned.
    fn cordon_is_told(&self, expected: bool) -> Result<()> {
        wait_until(&format!("the cordon's being told to be {expected}"), HEALED, || {
            let phases = self.scenario.phases()?;
            let is_told = phases.iter().any(|phase| phase["message"].to_string().contains("cordoned"));
            Ok((is_told == expected).then_some(()))
        })
    }

    /// The watch of the Node is taken up again: what changes after it shows in what the daemon tells.
    fn api_server_that_is_away_for_a_while(&mut self) -> Result<()> {
        let daemon = self.scenario.incarnation()?;
        self.cordon_is_told(false)?;
        self.scenario.control_plane.stop_component(Component::ApiServer);
        self.scenario.control_plane.start_component(Component::ApiServer)?;
        self.kubectl(&["cordon", NODE])?;
        self.cordon_is_told(true)?;
        self.kubectl(&["uncordon", NODE])?;
        self.cordon_is_told(false)?;
        self.healed(&daemon)
    }

    /// As a DaemonSet's would be: in this PID namespace, in another cgroup, on ports of its own.
    fn kube_proxy_that_runs_twice(&self) -> Result<()> {
        const SECOND: &str = "
sed -e 's/:10256/:10266/; s/:10249/:10259/' /etc/kubernetes/kube-proxy.yaml > /root/second.yaml
systemd-run --quiet --unit=second-proxy /usr/local/bin/kube-proxy --config=/root/second.yaml";
        let ready = self.scenario.wait_ready(JOIN)?;
        ensure!(!ready["phases"].to_string().contains("ProxyTwice"), "{ready}");
        self.scenario.node.sh(SECOND, &[])?;
        let told = wait_until("the second kube-proxy to be told", LOOKED_AGAIN, || {
            Ok(self.scenario.phases()?.into_iter().find(|phase| phase["reason"] == "ProxyTwice"))
        })?;
        let message = told["message"].as_str().unwrap_or_default();
        ensure!(message.contains("second-proxy.service`"), "{message}");
        lab::say(format_args!("ProxyTwice: {message}"));
        ensure!(
            self.scenario.status()?.is_some_and(|status| status["ready"] == true),
            "the node is Ready all the same"
        );
        self.scenario.node.exec(&["systemctl", "stop", "second-proxy.service"])?;
        wait_until("the second kube-proxy to be gone", LOOKED_AGAIN, || {
            Ok(self.scenario.phases()?.iter().all(|phase| phase["reason"] != "ProxyTwice").then_some(()))
        })
    }

    /// What it says stays, through the kubelet's next starts too.
    fn kubelet_that_refuses_its_configuration(&self) -> Result<()> {
        const NAMED: &[&str] = &["`kubelet.service`", "maxPods"];
        self.scenario.node.put(DROP_IN, "kubelet: {config: {maxPods: -1}}\n", 0o600)?;
        let (_, daemon) = self.trouble("UnitCrashLoop", NAMED)?;
        wait_until("the kubelet to be started twice more", SEEN, || {
            let entry = self.scenario.phases()?.into_iter().find(|phase| phase["phase"] == "kubelet");
            let entry = entry.context("no phase of the kubelet")?;
            let message = entry["message"].as_str().unwrap_or_default();
            ensure!(entry["reason"] == "UnitCrashLoop" && lacking(message, NAMED).is_none(), "{entry}");
            let restarts: u32 = self.scenario.unit("kubelet.service", "NRestarts")?.parse()?;
            Ok((restarts >= 2).then_some(()))
        })?;
        self.mend_configuration()?;
        self.healed(&daemon)
    }
}

#[test]
fn what_is_wrong_in_the_world_has_its_reason_within_10_s_and_heals_by_itself() -> Result<()> {
    let scenario = Scenario::start("bad-world", Minor::V1_36)?;
    let mut world = World { scenario };
    world.docker_that_fails_a_join()?;
    world.api_server_away_at_the_start()?;
    world.token_nobody_knows()?;
    world.token_that_expired()?;
    world.certificate_authority_of_another_cluster()?;
    world.binding_that_is_missing()?;
    world.request_that_waits_is_denied_and_approved()?;
    world.token_of_the_static_token_file()?;
    world.disk_that_is_full()?;
    world.kube_proxy_that_runs_twice()?;
    world.runtime_that_hangs()?;
    world.api_server_that_is_away_for_a_while()?;
    world.docker_that_does_not_start()?;
    world.kubelet_that_refuses_its_configuration()
}
