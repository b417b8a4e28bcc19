//! Users of this machine, as /etc/passwd has them: databases refuse to run as root.

use std::fs;

/// A user that a program is run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The first of `names` that this machine has.
pub fn first_of(names: &[&str]) -> Option<User> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    names.iter().find_map(|name| find(&text, name))
}

fn find(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        found.then(|| User { name: name.to_owned(), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnob:x:1:2::/:\nnobody:x:65534:65533::/:/bin/false\n";
        let nobody = User { name: "nobody".into(), uid: 65534, gid: 65533 };
        assert_eq!(find(passwd, "nobody"), Some(nobody));
        assert_eq!(find(passwd, "body"), None);
    }
}
