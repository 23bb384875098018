//! The daemon itself: one at a time, restarted where it is stuck, gone when told, and not lost with the bus.

use std::time::{Duration, Instant};

use crate::scenario::lossy_bus::{self, LossyBus};
use crate::scenario::{DROP_IN, JOIN, Scenario};
use anyhow::{Context as _, Result, ensure};
use lab::{Minor, wait_until};

const AGENT: &str = "kn-agent.service";

/// The unit has a minute; a test need not wait that long.
const WATCHDOG: Duration = Duration::from_secs(3);
const WATCHDOG_DROP_IN: &str = "/run/systemd/system/kn-agent.service.d/watchdog.conf";

/// Says where the bus is.
const BUS_DROP_IN: &str = "/run/systemd/system/kn-agent.service.d/bus.conf";

/// SIGTERM to the end of the process.
const GOODBYE: Duration = Duration::from_secs(2);

#[test]
fn the_daemon_is_one_is_restarted_when_stuck_ends_when_told_and_outlives_the_bus() -> Result<()> {
    let scenario = Scenario::start("daemon", Minor::V1_36)?;
    scenario.configure(&scenario.fresh_config()?)?;
    scenario.wait_ready(JOIN)?;
    a_second_one_says_so_and_ends(&scenario)?;
    the_bus_may_go_away(&scenario, &["systemctl", "restart", "dbus.service"])?;
    the_bus_may_go_away(&scenario, &["systemctl", "kill", "-s", "KILL", "dbus.service"])?;
    another_configuration_leaves_nothing_of_the_one_before_it(&scenario)?;
    what_is_not_watched_is_read_when_told(&scenario)?;
    it_ends_when_told(&scenario)?;
    it_is_up_when_it_reaches_systemd(&scenario)?;
    a_reload_whose_answer_is_lost_is_not_asked_for_twice(&scenario)?;
    one_that_is_stuck_is_restarted_and_an_idle_one_is_not(&scenario)
}

fn a_second_one_says_so_and_ends(scenario: &Scenario) -> Result<()> {
    let before = scenario.incarnation()?;
    let second = scenario.node.try_exec(&["timeout", "5", "kn-agent", "run"])?;
    ensure!(second.status.code() == Some(1) && second.stderr.contains("kn-agent runs already"), "{second:?}");
    ensure!(scenario.incarnation()? == before, "the first one was restarted");
    Ok(())
}

fn the_bus_may_go_away(scenario: &Scenario, how: &[&str]) -> Result<()> {
    const LOST: &str = "the connection to the system bus was lost";
    let node = &scenario.node;
    let losses = || -> Result<usize> {
        let log = node.exec(&["journalctl", "-u", AGENT, "-o", "cat", "--no-pager"])?;
        Ok(log.matches(LOST).count())
    };
    let (before, daemon) = (losses()?, scenario.incarnation()?);
    node.exec(how)?;
    wait_until("the daemon to notice", Duration::from_secs(5), || Ok((losses()? > before).then_some(())))?;
    let begun = Instant::now();
    node.exec(&["systemctl", "stop", "kubelet.service"])?;
    let brought_up = wait_until("the kubelet to be brought up again", Duration::from_secs(10), || {
        Ok((scenario.unit("kubelet.service", "ActiveState")? == "active").then_some(()))
    });
    brought_up.with_context(|| scenario.describe())?;
    scenario.wait_ready(JOIN)?;
    lab::say(format_args!(
        "{how:?}: Ready {:.1} s after the kubelet was stopped",
        begun.elapsed().as_secs_f32()
    ));
    ensure!(scenario.incarnation()? == daemon, "the daemon was restarted");
    Ok(())
}

fn another_configuration_leaves_nothing_of_the_one_before_it(scenario: &Scenario) -> Result<()> {
    const ROUNDS: usize = 5;
    let node = &scenario.node;
    let open = || -> Result<usize> {
        let files = node.sh("ls /proc/$(systemctl show -P MainPID kn-agent)/fd | wc -l", &[])?;
        Ok(files.trim().parse()?)
    };
    let loads = || scenario.loads();
    let change = |round: usize| -> Result<usize> {
        let before = loads()?;
        node.put(DROP_IN, format!("preflight: {{ignore: [{}]}}\n", ["swap", "address"][round % 2]), 0o644)?;
        wait_until("the configuration to be read", JOIN, || Ok((loads()? > before).then_some(())))?;
        // A start goes over the bus, too: what it listens with is not to be left either.
        node.exec(&["systemctl", "stop", "kube-proxy.service"])?;
        wait_until("kube-proxy to be brought up again", JOIN, || {
            Ok((scenario.unit("kube-proxy.service", "ActiveState")? == "active").then_some(()))
        })?;
        scenario.wait_ready(JOIN)?;
        open()
    };
    let counts: Vec<usize> = (0..=ROUNDS).map(change).collect::<Result<_>>()?;
    // One that is asked for its version just then has some open for a moment.
    ensure!(counts[1..].iter().min() <= counts.first(), "the daemon has ever more files open: {counts:?}");
    let before = loads()?;
    node.exec(&["rm", DROP_IN])?;
    wait_until("the configuration to be read", JOIN, || Ok((loads()? > before).then_some(())))?;
    scenario.wait_ready(JOIN).map(drop)
}

/// A link's target lies where nobody looks: SIGHUP has it read.
fn what_is_not_watched_is_read_when_told(scenario: &Scenario) -> Result<()> {
    const TARGET: &str = "/etc/elsewhere.yaml";
    let node = &scenario.node;
    let (daemon, before) = (scenario.incarnation()?, scenario.loads()?);
    let taken_up = |times: usize| {
        wait_until("the configuration to be read", JOIN, || {
            Ok((scenario.loads()? == before + times).then_some(()))
        })
    };
    node.put(TARGET, "preflight: {ignore: [swap]}\n", 0o644)?;
    node.exec(&["ln", "-s", TARGET, DROP_IN])?;
    taken_up(1)?;
    node.put(TARGET, "preflight: {ignore: [address]}\n", 0o644)?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(scenario.loads()? == before + 1, "it was seen without being told");
    node.exec(&["systemctl", "kill", "-s", "HUP", AGENT])?;
    taken_up(2)?;
    node.exec(&["rm", DROP_IN, TARGET])?;
    taken_up(3)?;
    scenario.wait_ready(JOIN)?;
    ensure!(scenario.incarnation()? == daemon, "the daemon was restarted");
    Ok(())
}

fn it_ends_when_told(scenario: &Scenario) -> Result<()> {
    let begun = Instant::now();
    scenario.node.exec(&["systemctl", "stop", AGENT])?;
    let took = begun.elapsed();
    ensure!(took < GOODBYE, "it took {took:?} to stop");
    ensure!(scenario.unit(AGENT, "Result")? == "success" && scenario.unit(AGENT, "ExecMainStatus")? == "0");
    // While it is away nobody brings the kubelet up: it was the agent that did.
    scenario.node.exec(&["systemctl", "stop", "kubelet.service"])?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(scenario.unit("kubelet.service", "ActiveState")? == "inactive");
    scenario.node.exec(&["systemctl", "start", AGENT])?;
    scenario.wait_ready(JOIN)?;
    lab::say(format_args!("stopped in {:.2} s", took.as_secs_f32()));
    Ok(())
}

/// Has the daemon begin on the bus at `address`, or its own, when it is started next.
fn next_on_bus(scenario: &Scenario, address: Option<&str>) -> Result<()> {
    let node = &scenario.node;
    match address {
        Some(address) => {
            let environment = format!("[Service]\nEnvironment=DBUS_SYSTEM_BUS_ADDRESS={address}\n");
            node.put(BUS_DROP_IN, environment, 0o644)?;
        }
        None => drop(node.exec(&["rm", BUS_DROP_IN])?),
    }
    node.exec(&["systemctl", "daemon-reload"]).map(drop)
}

/// READY=1 says so; until then it tells what it lacks.
fn it_is_up_when_it_reaches_systemd(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    next_on_bus(scenario, Some("unix:path=/run/lab-later"))?;
    node.exec(&["systemctl", "stop", AGENT])?;
    node.exec(&["systemctl", "start", "--no-block", AGENT])?;
    scenario.wait_trouble("SystemdTrouble", &["cannot reach systemd"], JOIN)?;
    ensure!(scenario.unit(AGENT, "ActiveState")? == "activating", "it is up without the bus");
    node.exec(&["ln", "-s", "/run/dbus/system_bus_socket", "/run/lab-later"])?;
    wait_until("the daemon to be up", JOIN, || {
        Ok((scenario.unit(AGENT, "ActiveState")? == "active").then_some(()))
    })?;
    scenario.wait_ready(JOIN)?;
    next_on_bus(scenario, None)?;
    node.exec(&["systemctl", "restart", AGENT])?;
    node.exec(&["rm", "/run/lab-later"])?;
    scenario.wait_ready(JOIN).map(drop)
}

/// Somebody makes the kubelet's unit another one; it is put back, which systemd has to be told of.
fn a_reload_whose_answer_is_lost_is_not_asked_for_twice(scenario: &Scenario) -> Result<()> {
    const UNIT: &str = "/etc/systemd/system/kubelet.service";
    let node = &scenario.node;
    let bus = LossyBus::start(node)?;
    next_on_bus(scenario, Some(lossy_bus::ADDRESS))?;
    node.exec(&["systemctl", "restart", AGENT])?;
    scenario.wait_ready(JOIN)?;
    ensure!(bus.reloads() == 0, "a reload for nothing");
    let (wanted, daemon) = (node.exec(&["cat", UNIT])?, scenario.incarnation()?);
    node.put(UNIT, format!("{wanted}# edited\n"), 0o600)?;
    wait_until("a reload", JOIN, || Ok((bus.reloads() > 0).then_some(())))?;
    wait_until("systemd to have read its units", JOIN, || {
        Ok((scenario.unit("kubelet.service", "NeedDaemonReload")? == "no").then_some(()))
    })?;
    ensure!(bus.cut(), "no answer was held back");
    let lost = || node.exec(&["journalctl", "-u", AGENT, "-o", "cat", "--no-pager", "-b"]);
    wait_until("the daemon to notice", JOIN, || {
        Ok(lost()?.contains("cannot make systemd reload its units").then_some(()))
    })?;
    scenario.wait_ready(JOIN)?;
    ensure!(node.exec(&["cat", UNIT])? == wanted, "the unit is not put back");
    ensure!(scenario.incarnation()? == daemon, "the daemon was restarted");
    // What follows another change is a reload again: the bus counts.
    ensure!(bus.reloads() == 1, "{} reloads for one change", bus.reloads());
    node.put(UNIT, format!("{wanted}# edited again\n"), 0o600)?;
    wait_until("the next reload", JOIN, || Ok((bus.reloads() == 2).then_some(())))?;
    next_on_bus(scenario, None)?;
    node.exec(&["systemctl", "restart", AGENT])?;
    scenario.wait_ready(JOIN).map(drop)
}

fn one_that_is_stuck_is_restarted_and_an_idle_one_is_not(scenario: &Scenario) -> Result<()> {
    let node = &scenario.node;
    ensure!(scenario.unit(AGENT, "WatchdogUSec")? == "1min", "the shipped unit has no watchdog of a minute");
    node.put(WATCHDOG_DROP_IN, format!("[Service]\nWatchdogSec={}\n", WATCHDOG.as_secs()), 0o644)?;
    node.exec(&["systemctl", "daemon-reload"])?;
    node.exec(&["systemctl", "restart", AGENT])?;
    scenario.wait_ready(JOIN)?;
    let bitten =
        || node.exec(&["journalctl", "-q", "--no-pager", "UNIT=kn-agent.service", "UNIT_RESULT=watchdog"]);
    let idle = scenario.incarnation()?;
    std::thread::sleep(2 * WATCHDOG + Duration::from_secs(1));
    ensure!(
        scenario.incarnation()? == idle && bitten()?.is_empty(),
        "an idle daemon was restarted: {}",
        bitten()?
    );

    // The loop alone is stuck, in a question that the bus does not pass on: the process lives and all else in it goes on.
    let restarts = || -> Result<u32> { Ok(scenario.unit(AGENT, "NRestarts")?.parse()?) };
    let (before, begun) = (restarts()?, Instant::now());
    let started = scenario.status()?.context("no status")?["startedAt"].clone();
    let the_bus = |signal| node.exec(&["systemctl", "kill", "-s", signal, "dbus.service"]);
    the_bus("STOP")?;
    node.exec(&["touch", "/etc/systemd/system/kubelet.service"])?;
    let process = node.sh("sed -n s/^State:.//p /proc/$(systemctl show -P MainPID kn-agent)/status", &[])?;
    let restarted =
        wait_until("systemd to restart it", 5 * WATCHDOG, || Ok((restarts()? > before).then_some(())));
    the_bus("CONT")?;
    restarted?;
    ensure!(!process.starts_with('T'), "it was the process that did not run: {process}");
    let ready = || Ok(scenario.status()?.filter(|now| now["ready"] == true && now["startedAt"] != started));
    wait_until("the next one to say Ready", JOIN, ready).with_context(|| scenario.describe())?;
    lab::say(format_args!("Ready again {:.1} s after it was stuck", begun.elapsed().as_secs_f32()));
    ensure!(bitten()?.contains("watchdog"), "it was not the watchdog that ended it");
    ensure!(scenario.incarnation()? != idle);
    node.exec(&["rm", WATCHDOG_DROP_IN])?;
    node.exec(&["systemctl", "daemon-reload"]).map(drop)
}
