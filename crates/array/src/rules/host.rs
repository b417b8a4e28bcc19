//! Hosts: added, deleted.

use super::{Decision, check, expect_revision, full, taken};
use crate::{
    limits,
    model::{Catalogue, Change, Edit, Host, look_up},
};
use umbra_base::{Error, ErrorCode, Result};

/// The host that `key` names: also its iSCSI name will do.
pub fn find<'a>(cat: &'a Catalogue, key: &str) -> Result<&'a Host> {
    match cat.host_of_initiator(key) {
        Some(host) => Ok(host),
        None => look_up("host", key, cat.hosts.values().map(|host| &**host)),
    }
}

/// Adds a host. The same name and initiator again is no change, whatever the id.
pub fn add(cat: &Catalogue, new: Host) -> Result<(Decision, umbra_base::HostId)> {
    check::name("host", &new.name)?;
    check::initiator(&new.initiator)?;
    if let Some(known) = cat.hosts.get(&new.id).or_else(|| same(cat, &new)) {
        if known.name == new.name && known.initiator == new.initiator {
            return Ok((Decision::unchanged(), known.id));
        }
        return Err(taken("host", &new.id.to_string(), format!("host {:?}", known.name)));
    }
    if let Some(other) = cat.hosts.values().find(|host| host.name == new.name) {
        return Err(taken("host", &new.name, &other.initiator));
    }
    if let Some(other) = cat.host_of_initiator(&new.initiator) {
        return Err(taken("initiator", &new.initiator, format!("host {:?}", other.name)));
    }
    if cat.hosts.len() >= limits::HOSTS {
        return Err(full("hosts", limits::HOSTS));
    }
    let id = new.id;
    let mut change = Change::new();
    change.push(Edit::PutHost(new));
    Ok((Decision::created(change), id))
}

fn same<'a>(cat: &'a Catalogue, new: &Host) -> Option<&'a std::sync::Arc<Host>> {
    cat.hosts.values().find(|host| host.name == new.name && host.initiator == new.initiator)
}

/// Deletes a host that sees nothing and has nothing imported.
pub fn delete(cat: &Catalogue, host: &Host, if_revision: u64) -> Result<Decision> {
    expect_revision("host", host.id.0, host.revision, if_revision)?;
    let seen = cat.masks_of_host(host.id).count();
    let imported = cat.sets.values().filter(|set| set.state.importer() == Some(host.id)).count();
    if seen > 0 || imported > 0 {
        return Err(Error::new(
            ErrorCode::BadState,
            format!("host {:?} sees {seen} LUNs and has {imported} sets imported", host.name),
        )
        .hint("mask the LUNs from it and un-import the sets first")
        .param("host", &host.name));
    }
    let mut change = Change::new();
    change.push(Edit::DropHost(host.id));
    Ok(Decision::deleted(change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{
        Outcome,
        fixture::{World, host},
    };

    #[test]
    fn the_same_host_again_is_no_change_and_another_of_its_name_is_refused() {
        let mut world = World::new();
        let (decision, _) = add(&world.cat, host(7, "c", "iqn.2026-01.x:c")).unwrap();
        assert_eq!(decision.outcome, Outcome::Created);
        world.apply(decision);
        let (again, id) = add(&world.cat, host(8, "c", "iqn.2026-01.x:c")).unwrap();
        assert_eq!((again.outcome, id), (Outcome::Unchanged, host(7, "c", "").id));
        for other in [
            host(9, "c", "iqn.2026-01.x:d"),
            host(9, "d", "iqn.2026-01.x:c"),
            host(7, "d", "iqn.2026-01.x:d"),
        ] {
            assert_eq!(add(&world.cat, other).unwrap_err().code(), ErrorCode::ObjectAlreadyExists);
        }
    }

    #[test]
    fn a_host_that_sees_a_lun_is_not_deleted() {
        let mut world = World::new();
        world.unmask(1, world.host);
        let known = world.cat.hosts[&world.host].clone();
        assert_eq!(delete(&world.cat, &known, 0).unwrap_err().code(), ErrorCode::BadState);
        world.mask(1);
        assert_eq!(delete(&world.cat, &known, 0).unwrap().outcome, Outcome::Deleted);
        assert_eq!(delete(&world.cat, &known, 99).unwrap_err().code(), ErrorCode::RevisionConflict);
    }
}
