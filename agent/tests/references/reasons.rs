//! `docs/reference/reasons.md`: why a node is not Ready.

use kn_agent::cluster::policy::Code;
use kn_agent::reason::Reason;

use crate::table::table;

const HEAD: &str = "Why a phase waits or is blocked. `kn-agent status` shows the code with what was found and what helps; `status -o json`
has them in `phases[].reason`, `phases[].message` and `phases[].hint`. Scripts may rely on the codes. Where an operator
must act, the phase is `blocked`, otherwise `waiting`. The exit code of `status` is 0 while the node is Ready, whatever
else is told; else 4 where a phase is blocked, and 3 otherwise.

";

const APPROVER: &str = "
Why `kn-agent approver` does not approve a request. The code stands in the request's condition where it is denied, else in an
Event, and in the approver's log. Scripts may rely on these, too.

";

pub(crate) fn text() -> String {
    let rows = Reason::ALL.iter().map(|reason| {
        assert!(!reason.meaning().is_empty() && !reason.remedy().is_empty(), "{reason}");
        let who = if reason.needs_operator() { "an operator" } else { "time, or another program" };
        [format!("`{reason}`"), who.to_owned(), reason.meaning().to_owned(), reason.remedy().to_owned()]
    });
    let codes = Code::ALL.iter().map(|code| {
        assert!(!code.meaning().is_empty(), "{code:?}");
        [format!("`{}`", code.as_str()), code.meaning().to_owned()]
    });
    HEAD.to_owned()
        + &table(["code", "who must act", "meaning", "what helps"], rows)
        + APPROVER
        + &table(["code", "meaning"], codes)
}
