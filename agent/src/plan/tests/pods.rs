//! What keeps pods away from a node that is Ready.

use serde_json::{Value, json};

use super::messages::joined;
use super::world::World;
use super::{Phase, ready, settle};
use crate::config::Taint;
use crate::plan::Verdict;
use crate::ports::cluster::Seen;

fn told(world: &World) -> String {
    match &world.plan().verdicts[&Phase::Ready] {
        Verdict::Satisfied(note) => note.clone(),
        other => panic!("{other:?}"),
    }
}

/// A Ready node with these taints, one of which the configuration may name; under pressure where it is not cordoned.
fn tainted(taints: Value, cordoned: bool) -> String {
    let mut world = ready();
    world.edit(|config, observed| {
        let (key, value) = ("example.com/gpu".to_owned(), "yes".to_owned());
        config.node.taints = vec![Taint { key, value, effect: "NoSchedule".to_owned() }];
        let Some(Ok(Seen::Present(node))) = &mut observed.watched.node else { panic!() };
        let spec = node.spec.as_mut().unwrap();
        spec.taints = serde_json::from_value(taints).unwrap();
        spec.unschedulable = cordoned.then_some(true);
        let pressure =
            json!({"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure"});
        let calm = json!({"type": "MemoryPressure", "status": "False"});
        if !cordoned {
            let conditions = node.status.as_mut().unwrap().conditions.as_mut().unwrap();
            conditions.extend([pressure, calm].map(|one| serde_json::from_value(one).unwrap()));
        }
    });
    // The kubelet's configuration has the taints too.
    assert!(settle(&mut world).is_ready());
    told(&world)
}

#[test]
fn what_keeps_pods_away_from_a_ready_node_is_told_where_it_is_not_meant() {
    let own = json!({"key": "example.com/gpu", "value": "yes", "effect": "NoSchedule"});
    let mild = json!({"key": "example.com/later", "effect": "PreferNoSchedule"});
    let cordon = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    let disk = json!({"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"});
    assert_eq!(
        tainted(json!([own, disk, mild]), false),
        "the Node is Ready, but keeps pods away: taint node.kubernetes.io/disk-pressure:NoSchedule; \
         DiskPressure: kubelet has disk pressure"
    );
    assert_eq!(
        tainted(json!([own, cordon]), true),
        "the Node is Ready, but keeps pods away: cordoned (kubectl uncordon ends it)"
    );
    assert_eq!(told(&ready()), "the Node is Ready");
}

#[test]
fn what_a_node_lacks_to_be_ready_is_named() {
    let with = |conditions: Value| {
        joined(Phase::Ready, |_, observed| {
            let Some(Ok(Seen::Present(node))) = &mut observed.watched.node else { panic!() };
            node.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
        })
    };
    let ready = |status: &str| {
        let (reason, message) = ("KubeletNotReady", "container runtime network not ready");
        with(json!([{"type": "Ready", "status": status, "reason": reason, "message": message}]))
    };
    assert_eq!(with(json!([])), "NodeNotReady: the kubelet has not reported yet");
    assert_eq!(ready("False"), "NodeNotReady: KubeletNotReady: container runtime network not ready");
    assert!(ready("True").starts_with("ok: the Node is Ready"), "{}", ready("True"));
}
