//! The subject of kube-proxy's certificate.

use super::fragment::SubjectFragment;
use super::problem::shown;
use crate::names::Subject;

/// The user the cluster's own role binding is for.
const DEFAULT: &str = "system:kube-proxy";

/// What RFC 5280 (upper bounds of `ub-common-name` and its kin) leaves room for.
const LONGEST: usize = 64;

/// What is refused: the key, why, and what to do.
pub(super) type Refused = (&'static str, String, &'static str);

/// The subject, and everything in it that is refused.
pub(super) fn of(fragment: SubjectFragment) -> (Subject, Vec<Refused>) {
    let subject = Subject {
        common_name: fragment.common_name.unwrap_or_else(|| DEFAULT.to_owned()),
        organization: fragment.organization,
        organizational_unit: fragment.organizational_unit,
        country: fragment.country,
        province: fragment.province,
        locality: fragment.locality,
    };
    let refused = subject.attributes().into_iter().filter_map(|(name, value)| refusal(name, value)).collect();
    (subject, refused)
}

fn refusal(name: &str, value: &str) -> Option<Refused> {
    let key = match name {
        "C" => "country",
        "ST" => "province",
        "L" => "locality",
        "O" => "organization",
        "OU" => "organizationalUnit",
        _ => "commonName",
    };
    let (why, what) = match (key, value) {
        (_, value) if value.is_empty() || value.chars().any(char::is_control) => {
            (format!("`{}` is no text for a certificate", shown(value)), "leave it out")
        }
        (_, value) if value.chars().count() > LONGEST => {
            (format!("it has more than {LONGEST} characters"), "shorten it")
        }
        ("country", value) if value.len() != 2 || !value.bytes().all(|b| b.is_ascii_uppercase()) => {
            (format!("`{}` is no country", shown(value)), "write its two capital letters, e.g. `DE`")
        }
        // The API server takes an organization for a group: those of the system are not kube-proxy's.
        ("organization", value) if value.starts_with("system:") => {
            (format!("`{}` is a group of the system", shown(value)), "leave it out")
        }
        ("commonName", value) if value.starts_with("system:") && value != DEFAULT => {
            (format!("`{}` is another user of the system", shown(value)), "write `system:kube-proxy`")
        }
        _ => return None,
    };
    Some((key, why, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(fragment: SubjectFragment) -> Vec<&'static str> {
        of(fragment).1.into_iter().map(|(key, ..)| key).collect()
    }

    #[test]
    fn the_subject_of_old_documents_is_taken_and_another_identity_is_not() {
        let text = |value: &str| Some(value.to_owned());
        let old = SubjectFragment {
            country: text("CN"),
            province: text("HangZhou"),
            locality: text("XS"),
            organization: text("k8s"),
            organizational_unit: text("System"),
            common_name: None,
        };
        let (subject, none) = of(old);
        assert_eq!(none, []);
        assert_eq!(
            subject.attributes(),
            [
                ("C", "CN"),
                ("ST", "HangZhou"),
                ("L", "XS"),
                ("O", "k8s"),
                ("OU", "System"),
                ("CN", "system:kube-proxy")
            ]
        );
        let group = |group| SubjectFragment { organization: text(group), ..SubjectFragment::default() };
        assert_eq!(refused(group("system:masters")), ["organization"]);
        assert_eq!(refused(group("system:nodes")), ["organization"]);
        let user = |user: &str| SubjectFragment { common_name: text(user), ..SubjectFragment::default() };
        assert_eq!(refused(user("system:kube-controller-manager")), ["commonName"]);
        assert_eq!(refused(user("")), ["commonName"]);
        assert_eq!(refused(user(&"x".repeat(65))), ["commonName"]);
        assert_eq!(refused(user("proxy.example.com")), [] as [&str; 0]);
        for country in ["c", "chn", "cn", "C1"] {
            let fragment = SubjectFragment { country: text(country), ..SubjectFragment::default() };
            assert_eq!(refused(fragment), ["country"], "{country}");
        }
    }
}
