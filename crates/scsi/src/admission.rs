//! What stands between a command and its plan: pending attentions and other people's reservations, in the order that
//! SAM-5 section 5.3.3 (status precedence) demands.

use crate::attention::Attentions;
use crate::reservation::{Nexus, Reservations};
use crate::sense::Refusal;

/// Whether a command may be decoded and carried out. A condition that is told here is told once.
pub fn admit(
    cdb: &[u8; 16],
    attentions: &mut Attentions,
    reservations: &Reservations,
    nexus: &Nexus,
) -> Result<(), Refusal> {
    if let Some(reset) = attentions.interrupt_by_reset(cdb[0]) {
        return Err(Refusal::Check(reset));
    }
    if !reservations.admits(cdb, nexus) {
        return Err(Refusal::ReservationConflict);
    }
    attentions.interrupt(cdb[0]).map_or(Ok(()), |condition| Err(Refusal::Check(condition)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sense;
    use crate::reservation::{InitiatorPort, Legacy};

    const WRITE: [u8; 16] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    const INQUIRY: [u8; 16] = [0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn resets_come_before_conflicts_and_conflicts_before_other_attentions() {
        let nexus = |name| Nexus { initiator: InitiatorPort::new(name, [0; 6]).unwrap(), port: 1 };
        let (holder, other) = (nexus("a"), nexus("b"));
        let mut reservations = Reservations::default();
        reservations.apply_legacy(Legacy::Reserve, &holder).unwrap();
        let mut attentions = Attentions::default();
        attentions.post(Sense::BUS_DEVICE_RESET);
        attentions.post(Sense::CAPACITY_CHANGED);
        let mut admit = |cdb: &[u8; 16], nexus: &Nexus| admit(cdb, &mut attentions, &reservations, nexus);
        assert_eq!(admit(&INQUIRY, &other), Ok(()), "carried out, and nothing is told");
        assert_eq!(admit(&WRITE, &other), Err(Refusal::Check(Sense::BUS_DEVICE_RESET)));
        assert_eq!(admit(&WRITE, &other), Err(Refusal::ReservationConflict));
        assert_eq!(admit(&WRITE, &holder), Err(Refusal::Check(Sense::CAPACITY_CHANGED)));
        assert_eq!(admit(&WRITE, &holder), Ok(()));
    }
}
