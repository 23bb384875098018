//! A whole machine with a kernel of its own: cgroup v2, and kube-proxy's ipvs, for which the host's kernel may lack the
//! modules. Nothing of what nodes in containers need is configured on it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{Artefacts, DEMO_IMAGE, Machine, Minor, PAUSE_IMAGE, say, wait_until};
use serde_json::json;

use crate::scenario::{DROP_IN, JOIN, Scenario, from_make};

const NAME: &str = "machine-1";

/// An emulated processor runs the kubelet ten to twenty times as slowly.
const SLOW: Duration = Duration::from_mins(3);

const HEAD: &str = "Debian 13 in QEMU, whose processors are emulated: its times are no measure. Installed is the package, configured what
`token create --print config` prints, the bridge, and a sandbox image, since there is no registry. The limit of a cgroup that
nothing is reserved for, read in the same way, is the control.
";

struct Emulated {
    machine: Machine,
    scenario: Scenario,
}

impl Emulated {
    fn boot() -> Result<Self> {
        let scenario = Scenario::start("machine", Minor::V1_36)?;
        let artefacts = Artefacts::ensure(Minor::V1_36)?;
        let package = from_make("KN_AGENT_DEB")?;
        let machine = Machine::boot(scenario.control_plane.run(), &artefacts, &package, NAME)?;
        machine.sh("dpkg -i /usr/local/kn-agent.deb")?;
        Ok(Self { machine, scenario })
    }

    /// Configures it as any machine without a registry, and as `settings` say; that starts the daemon.
    fn configure(&self, settings: &str) -> Result<()> {
        let usual = format!("network: {{plugin: bridge}}\nruntime: {{sandboxImage: '{PAUSE_IMAGE}'}}\n");
        self.machine.put("/etc/kn-agent/config.d/20-lab.yaml", &usual, 0o644)?;
        self.machine.put(DROP_IN, settings, 0o600)?;
        self.machine.put("/etc/kn-agent/config.yaml", &self.scenario.fresh_config_of(NAME)?, 0o600)
    }

    fn wait_said(&self, mark: &str) -> Result<()> {
        wait_until(&format!("`{mark}` in the status"), SLOW, || {
            let status = self.machine.try_sh("kn-agent status 2>&1")?.stdout;
            Ok(status.contains(mark).then_some(()))
        })
    }

    fn wait_ready(&self) -> Result<()> {
        let output = self.machine.try_sh("kn-agent status --wait --timeout 170s 2>&1")?;
        ensure!(output.status.success(), "{}\n{}", output.stdout, self.log()?);
        Ok(())
    }

    fn log(&self) -> Result<String> {
        Ok(self.machine.try_sh("journalctl -u kn-agent -u kubelet -n 40 -o cat --no-pager")?.stdout)
    }

    fn milliseconds_to_ready(&self) -> Result<String> {
        let timeline = self.machine.sh("kn-agent timeline")?;
        let ready = timeline.lines().find(|line| line.ends_with("  Ready")).context("never Ready")?;
        Ok(ready.trim().split(' ').next().unwrap_or_default().to_owned())
    }

    fn is_on_v2_with(&self, driver: &str) -> Result<()> {
        ensure!(self.machine.sh("stat -fc %T /sys/fs/cgroup")?.trim() == "cgroup2fs");
        let docker = self.machine.sh("docker info --format '{{.CgroupDriver}} {{.CgroupVersion}}'")?;
        ensure!(docker.trim() == format!("{driver} 2"), "{docker}");
        let config = self.machine.sh("cat /etc/kubernetes/kubelet.yaml")?;
        let is_told = config.contains(&format!("cgroupDriver: {driver}"));
        ensure!(is_told && !config.contains("failCgroupV1"), "{config}");
        let kubectl = self.scenario.control_plane.kubectl()?;
        ensure!(kubectl.node_condition(NAME, "Ready")?.as_deref() == Some("True"), "from outside");
        Ok(())
    }

    fn run_bounded_pod(&self) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "bounded"},
            "spec": {
                "nodeName": NAME,
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "one", "image": DEMO_IMAGE, "imagePullPolicy": "Never",
                    "resources": {"requests": {"memory": "24Mi"}, "limits": {"memory": "48Mi"}}}],
            },
        });
        let kubectl = self.scenario.control_plane.kubectl()?;
        wait_until("the default service account", JOIN, || {
            Ok(kubectl.run(&["get", "serviceaccount", "default"]).ok())
        })?;
        kubectl.apply(&pod.to_string())?;
        kubectl.run(&["wait", "--for=condition=Ready", "pod/bounded", "--timeout=120s"]).map(drop)
    }

    /// What a container may use is in the cgroup that it is in.
    fn pods_are_bounded(&self) -> Result<String> {
        const LIMIT: &str = "
container=$(docker ps --quiet --filter label=io.kubernetes.pod.name=bounded --filter label=io.kubernetes.container.name=one)
pid=$(docker inspect --format '{{.State.Pid}}' ${container:?no such pod runs})
path=/sys/fs/cgroup$(sed 's/^0:://' /proc/$pid/cgroup)
echo $path $(cat $path/memory.max)";
        self.run_bounded_pod()?;
        let limit = self.machine.sh(LIMIT)?;
        ensure!(limit.contains("/kubepods.slice/") && limit.trim().ends_with(" 50331648"), "{limit}");
        Ok("a container's `memory.max` is its limit".to_owned())
    }

    /// kube-proxy is well before its first rules are there.
    fn reaches_the_api_server_by_its_service(&self) -> Result<()> {
        const ASK: &str = "curl -sk --max-time 5 https://10.96.0.1/version";
        wait_until("the API server's Service to answer", SLOW, || {
            Ok(self.machine.try_sh(ASK)?.stdout.contains("gitVersion").then_some(()))
        })
        .with_context(|| {
            self.machine.sh("journalctl -u kube-proxy -n 20 -o cat --no-pager").unwrap_or_default()
        })
    }

    fn cgroups(&self) -> Result<Vec<String>> {
        let found = self.machine.sh("cd /sys/fs/cgroup && find . -maxdepth 1 -mindepth 1 -type d | sort")?;
        Ok(found.lines().map(str::to_owned).collect())
    }

    /// The cgroup is there, bounded by what is reserved, and nothing else has come.
    fn reserves(&self, cgroup: &str, before: &[String]) -> Result<String> {
        let wanted = (300 << 20).to_string();
        wait_until("the kubelet to enforce what is reserved", SLOW, || {
            let limit = self.machine.sh(&format!("cat /sys/fs/cgroup/{cgroup}/memory.max"))?;
            Ok((limit.trim() == wanted).then_some(()))
        })
        .with_context(|| self.log().unwrap_or_default())?;
        // The control: a cgroup that nothing is reserved for has no such limit.
        ensure!(self.machine.sh("cat /sys/fs/cgroup/system.slice/memory.max")?.trim() == "max");
        let first = format!("./{}", cgroup.split('/').next().unwrap_or_default());
        let stray: Vec<String> =
            self.cgroups()?.into_iter().filter(|found| !before.contains(found) && *found != first).collect();
        ensure!(stray.is_empty(), "stray cgroups: {stray:?}");
        ensure!(self.cgroups()?.contains(&first), "the search finds nothing");
        Ok(format!("`memory.max` of `{cgroup}` is {wanted}, no stray cgroup"))
    }
}

fn reserved(cgroup: &str, more: &str) -> String {
    format!(
        "kubelet:\n  config:\n    enforceNodeAllocatable: [pods, kube-reserved]\n    kubeReserved: {{memory: 300Mi}}\n    \
         kubeReservedCgroup: {cgroup}\n{more}"
    )
}

/// What is asked of a machine, and what it is called in the record.
type Round = (&'static str, fn(&Emulated) -> Result<String>);

const SWAP_ON: &str = "
dd if=/dev/zero of=/root/swap bs=1M count=16 status=none && chmod 600 /root/swap && mkswap -q /root/swap && swapon /root/swap";

/// A drop-in that takes away what makes the cgroup, and a kubelet that finds none.
const WITHOUT_CGROUP: &str = "
mkdir -p /etc/systemd/system/kubelet.service.d
printf '[Service]\\nExecStartPre=\\n' > /etc/systemd/system/kubelet.service.d/bare.conf
systemctl daemon-reload
rmdir /sys/fs/cgroup/kube/daemons
systemctl restart --no-block kubelet";

/// The first is part of every test run.
const ROUNDS: [Round; 4] = [
    ("cgroup v2, driver systemd, slices that systemd makes", slices),
    ("cgroup v2, driver cgroupfs, directories that the kubelet's unit makes", directories),
    ("kube-proxy in the mode ipvs, then iptables", ipvs),
    ("cgroup v2, containerd with the driver systemd, pods that may swap", containerd),
];

fn slices(emulated: &Emulated) -> Result<String> {
    let before = emulated.cgroups()?;
    emulated.machine.sh(SWAP_ON)?;
    emulated.configure(&reserved("/system.slice/kubelet.service", ""))?;
    // A unit's name is none of a slice.
    emulated.wait_said("it must be a slice")?;
    emulated.machine.put(DROP_IN, &reserved("/podruntime.slice", ""), 0o600)?;
    emulated.wait_said("swap is on (/root/swap)")?;
    emulated.machine.sh("swapoff /root/swap")?;
    emulated.wait_ready()?;
    emulated.is_on_v2_with("systemd")?;
    let made = [before, vec!["./kubepods.slice".to_owned()]].concat();
    let reserved = emulated.reserves("podruntime.slice", &made)?;
    Ok(format!("{reserved}; {}; a unit's name for it is refused before", emulated.pods_are_bounded()?))
}

fn directories(emulated: &Emulated) -> Result<String> {
    let before = emulated.cgroups()?;
    emulated.configure(&reserved("/kube/daemons", "    cgroupDriver: cgroupfs\n"))?;
    emulated.wait_ready()?;
    emulated.is_on_v2_with("cgroupfs")?;
    emulated.machine.sh(WITHOUT_CGROUP)?;
    emulated.wait_said("a cgroup of enforceNodeAllocatable can't be used")?;
    emulated.machine.sh("rm /etc/systemd/system/kubelet.service.d/bare.conf; systemctl daemon-reload; systemctl restart kubelet")?;
    emulated.wait_ready()?;
    emulated
        .reserves("kube/daemons", &[before, vec!["./kubepods".to_owned(), "./docker".to_owned()]].concat())
}

/// Its images come from files; docker, which has them, is stopped for good.
fn containerd(emulated: &Emulated) -> Result<String> {
    const EXPORT: &str = "
set -e
mkdir -p /opt/images
systemctl start docker
docker save --output /opt/images/all.tar kn-agent-lab/pause:1 kn-agent-lab/demo:1
systemctl disable --now docker.service docker.socket containerd.service";
    const SETTINGS: &str = "runtime: {kind: containerd, images: /opt/images}
kubelet: {config: {failSwapOn: false, memorySwap: {swapBehavior: LimitedSwap}}}
";
    const SCOPE: &str = "
set -e
container=$(ctr --namespace k8s.io containers list --quiet 'labels.\"io.kubernetes.container.name\"==one')
pid=$(ctr --namespace k8s.io tasks list | awk -v id=\"$container\" '$1 == id { print $2 }')
path=/sys/fs/cgroup$(sed 's/^0:://' /proc/${pid:?no such container runs}/cgroup)
echo $path $(cat $path/memory.max) $(cat $path/memory.swap.max)";
    emulated.machine.sh(EXPORT)?;
    emulated.machine.sh(SWAP_ON)?;
    emulated.configure(SETTINGS)?;
    emulated.wait_ready()?;
    ensure!(emulated.machine.sh("stat -fc %T /sys/fs/cgroup")?.trim() == "cgroup2fs");
    let containerd = emulated.machine.sh("containerd config dump | grep SystemdCgroup")?;
    ensure!(containerd.trim() == "SystemdCgroup = true", "{containerd}");
    let kubelet = emulated.machine.sh("cat /etc/kubernetes/kubelet.yaml")?;
    ensure!(kubelet.contains("swapBehavior: LimitedSwap"), "{kubelet}");
    emulated.run_bounded_pod()?;
    let scope = emulated.machine.sh(SCOPE)?;
    let words: Vec<&str> = scope.split_whitespace().collect();
    let [path, memory, swap] = words[..] else { bail!("{scope}") };
    ensure!(path.contains("/kubepods.slice/") && memory == "50331648", "{scope}");
    // Its share of the swap is that of its request in the memory.
    ensure!(swap.parse::<u64>()? > 0, "{scope}");
    Ok(format!("a container's `memory.max` is its limit, its `memory.swap.max` {swap}"))
}

fn ipvs(emulated: &Emulated) -> Result<String> {
    const SERVERS: &str = "cat /proc/net/ip_vs";
    // 10.96.0.1:443, the API server's own Service, as the kernel writes it.
    const API_SERVER: &str = "0A600001:01BB";
    emulated.configure("proxy: {mode: ipvs}\n")?;
    emulated.wait_ready()?;
    let servers = wait_until("the API server's Service in ipvs", SLOW, || {
        Ok(Some(emulated.machine.sh(SERVERS)?).filter(|servers| servers.contains(API_SERVER)))
    })?;
    emulated.reaches_the_api_server_by_its_service()?;

    emulated.machine.put(DROP_IN, "proxy: {mode: iptables}\n", 0o600)?;
    wait_until("ipvs to be taken away", SLOW, || {
        let left = emulated.machine.sh(&format!("{SERVERS}; ip -br link"))?;
        Ok((!left.contains(API_SERVER) && !left.contains("kube-ipvs0")).then_some(()))
    })
    .with_context(|| emulated.log().unwrap_or_default())?;
    emulated.wait_ready()?;
    emulated.reaches_the_api_server_by_its_service()?;
    Ok(format!(
        "{} virtual servers of ipvs, none after; the API server's Service answers in both",
        servers.lines().count() - 3
    ))
}

#[test]
fn machine_with_a_kernel_of_its_own_joins_and_enforces_what_is_reserved() -> Result<()> {
    let evidence = std::env::var_os("KN_AGENT_LAB_MACHINE");
    let rounds = if evidence.is_some() { &ROUNDS[..] } else { &ROUNDS[..1] };
    let mut rows = String::new();
    for (name, round) in rounds {
        let start = Instant::now();
        let emulated = Emulated::boot()?;
        let found = round(&emulated).with_context(|| (*name).to_owned())?;
        let row = format!(
            "| {name} | {} | {found} | {} | {} |\n",
            emulated.machine.sh("uname -r")?.trim(),
            emulated.milliseconds_to_ready()?,
            start.elapsed().as_secs(),
        );
        say(format_args!("{row}"));
        rows += &row;
    }
    let Some(path) = evidence else { return Ok(()) };
    let head = lab::provenance::head("A whole machine with a kernel of its own", "make test-machine")?;
    let text = format!(
        "{head}.\n\n{HEAD}\n\
         | | kernel | found | from the daemon's start to Ready, ms | with boot and checks, s |\n|---|---|---|---|---|\n\
         {rows}"
    );
    std::fs::write(path, text)?;
    Ok(())
}
