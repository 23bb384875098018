//! What scenarios rely on the lab for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lab::{Artefacts, Component, ControlPlane, Footprint, Minor, Node, Run};

/// Variables that name directories of programs, the one that wins first.
const GIVEN: [&str; 2] = ["KN_AGENT_LAB_KUBERNETES", "KUBEBUILDER_ASSETS"];

#[test]
fn node_keeps_its_files_through_reboot_and_power_cut() -> Result<()> {
    let artefacts = Artefacts::ensure(Minor::V1_36)?;
    let run = Run::start("lab-node")?;
    let mut node = Node::boot(&run, &artefacts, "worker-1")?;

    node.put("/etc/lab/kept", "kept", 0o600)?;
    node.put("/run/lab/lost", "lost", 0o644)?;
    node.exec(&["sync"])?;
    let boot_id = node.get("/proc/sys/kernel/random/boot_id")?;
    let check = |node: &Node, event: &str| -> Result<()> {
        ensure!(node.get("/etc/lab/kept")? == b"kept", "the {event} lost a file");
        ensure!(
            node.exec(&["stat", "--format=%a", "/etc/lab/kept"])?.trim() == "600",
            "the {event} lost a mode"
        );
        ensure!(node.get("/run/lab/lost").is_err(), "the {event} kept /run");
        ensure!(node.exec(&["hostname"])?.trim() == "worker-1", "the {event} lost the name");
        ensure!(node.get("/proc/sys/kernel/random/boot_id")? != boot_id, "the {event} was no boot");
        Ok(())
    };
    node.reboot()?;
    check(&node, "reboot")?;
    node.kill();
    ensure!(node.exec(&["true"]).is_err(), "a killed node runs a command");
    node.power_on()?;
    check(&node, "power cut")?;
    node.power_off()?;
    node.power_on()?;
    check(&node, "power off")?;
    Ok(())
}

#[test]
fn failed_command_carries_what_it_said() -> Result<()> {
    let artefacts = Artefacts::ensure(Minor::V1_36)?;
    let run = Run::start("lab-exec")?;
    let node = Node::boot(&run, &artefacts, "worker-1")?;

    let output = node.try_exec(&["sh", "-c", "echo out; echo err >&2; exit 7"])?;
    assert_eq!((output.status.code(), output.stdout.trim(), output.stderr.trim()), (Some(7), "out", "err"));
    let error = node.sh("echo \"$1\" >&2; exit 1", &["because"]).err().context("it did not fail")?;
    assert!(format!("{error:#}").contains("because"), "{error:#}");
    // A program of the node's is in the node's cgroups, not in the harness's.
    let cgroups = node.exec(&["cat", "/proc/self/cgroup"])?;
    assert!(!cgroups.contains("/.."), "{cgroups}");
    Ok(())
}

#[test]
fn failed_test_leaves_nothing() -> Result<()> {
    let artefacts = Artefacts::ensure(Minor::V1_36)?;
    let control_plane = ControlPlane::start("lab-failed", &artefacts)?;
    let node = Node::boot(control_plane.run(), &artefacts, "worker-1")?;
    let footprint = Footprint::of(control_plane.run());
    for trace in footprint.traces()? {
        ensure!(!trace.found.is_empty(), "no {} of a lab that runs: the search is wrong", trace.kind);
    }
    let failed = thread::spawn(move || {
        let _lab = (node, control_plane);
        panic!("on purpose: a test that fails");
    });
    ensure!(failed.join().is_err(), "it did not fail");
    for trace in footprint.traces()? {
        ensure!(trace.found.is_empty(), "{} are left: {:?}", trace.kind, trace.found);
    }
    Ok(())
}

#[test]
fn control_plane_parts_stop_and_come_back() -> Result<()> {
    let artefacts = Artefacts::ensure(Minor::V1_36)?;
    let mut control_plane = ControlPlane::start("lab-plane", &artefacts)?;
    let kubectl = control_plane.kubectl()?;
    kubectl.create("{apiVersion: v1, kind: Namespace, metadata: {name: kept}}")?;

    control_plane.stop_component(Component::ApiServer);
    assert!(kubectl.run(&["--request-timeout=2s", "get", "namespaces"]).is_err(), "a stopped server answers");
    control_plane.start_component(Component::ApiServer)?;
    kubectl.get(&["namespace", "kept"])?;
    control_plane.kill_component(Component::ApiServer);
    control_plane.start_component(Component::ApiServer)?;
    kubectl.get(&["namespace", "kept"])?;

    let log = fs::read_to_string(control_plane.audit_log())?;
    assert!(log.lines().any(|line| line.contains("\"verb\":\"create\"") && line.contains("\"namespaces\"")));
    Ok(())
}

/// The programs a lab would run, with this environment.
fn programs(environment: &[(&str, &Path)]) -> Result<Vec<PathBuf>> {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.arg("prepare").env_remove(GIVEN[0]).env_remove(GIVEN[1]).envs(environment.iter().copied());
    let output = lab.output()?;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{text}");
    let programs: Vec<_> = text.lines().map(PathBuf::from).filter(|path| path.is_absolute()).collect();
    ensure!(programs.len() == 7, "{text}");
    Ok(programs)
}

#[test]
fn programs_are_those_of_the_directories_given() -> Result<()> {
    let own = programs(&[])?;
    let fill = |directory: &Path, programs: &[PathBuf]| -> Result<()> {
        for program in programs {
            symlink(program, directory.join(program.file_name().context("no name")?))?;
        }
        Ok(())
    };
    let (all, one) = (tempfile::tempdir()?, tempfile::tempdir()?);
    fill(all.path(), &own)?;
    fill(one.path(), &own[..1])?;
    for variable in GIVEN {
        let found = programs(&[(variable, all.path())])?;
        ensure!(found.iter().all(|program| program.starts_with(all.path())), "{variable}: {found:?}");
        // What is missing there is the lab's own.
        let found = programs(&[(variable, one.path())])?;
        ensure!(found[0].starts_with(one.path()) && found[1..] == own[1..], "{variable}: {found:?}");
    }
    let found = programs(&[(GIVEN[1], all.path()), (GIVEN[0], one.path())])?;
    ensure!(found[0].starts_with(one.path()) && found[1].starts_with(all.path()), "{found:?}");
    Ok(())
}
