//! What coordinators and replicas say to each other about single keys.

use super::parts::WriteParts;
use super::{Body, Fields};
use crate::fields::{Malformed, WriteFields};
use crate::ring::MemberNumber;
use crate::wire::{Decline, Fetch, Fetched, KeepHint, Reason, Store};

/// | field | form |
/// |---|---|
/// | reason | u8: 0 write, 1 repair, 2 hint, 3 sync |
/// | key | key |
/// | delta | delta |
impl Body for Store {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_byte(match self.reason {
            Reason::Write => 0,
            Reason::Repair => 1,
            Reason::Hint => 2,
            Reason::Sync => 3,
        });
        out.put_key(&self.key);
        out.put_delta(&self.delta);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let reason = match fields.reader.byte()? {
            0 => Reason::Write,
            1 => Reason::Repair,
            2 => Reason::Hint,
            3 => Reason::Sync,
            _ => return Err(Malformed("a reason that is none")),
        };
        let key = fields.key()?;
        let delta = fields.delta()?;
        Ok(Store { key, delta, reason })
    }
}

/// | field | form |
/// |---|---|
/// | owed_to | u16 |
/// | key | key |
/// | delta | delta |
impl Body for KeepHint {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u16_le(self.owed_to.0);
        out.put_key(&self.key);
        out.put_delta(&self.delta);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let owed_to = MemberNumber(fields.reader.u16_le()?);
        let key = fields.key()?;
        let delta = fields.delta()?;
        Ok(KeepHint { owed_to, key, delta })
    }
}

/// | field | form |
/// |---|---|
/// | why | u8: 0 overloaded, 1 read-only, 2 not mine, 3 damaged, 4 full, 5 other ring, 6 unsettled |
impl Body for Decline {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_byte(match self {
            Decline::Overloaded => 0,
            Decline::ReadOnly => 1,
            Decline::NotMine => 2,
            Decline::Damaged => 3,
            Decline::Unsettled => 6,
            Decline::Full => 4,
            Decline::OtherRing => 5,
        });
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        match fields.reader.byte()? {
            0 => Ok(Decline::Overloaded),
            1 => Ok(Decline::ReadOnly),
            2 => Ok(Decline::NotMine),
            3 => Ok(Decline::Damaged),
            4 => Ok(Decline::Full),
            5 => Ok(Decline::OtherRing),
            6 => Ok(Decline::Unsettled),
            _ => Err(Malformed("a reason to decline that is none")),
        }
    }
}

/// | field | form |
/// |---|---|
/// | key | key |
/// | have | dots |
impl Body for Fetch {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_key(&self.key);
        out.put_dots(&self.have);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let key = fields.key()?;
        let have = fields.dots()?;
        Ok(Fetch { key, have })
    }
}

/// | field | form |
/// |---|---|
/// | recovering | flag |
/// | clock | set |
/// | entry | entry, with values or none |
impl Body for Fetched {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_flag(self.recovering);
        self.clock.encode(out);
        out.put_entry(&self.entry);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let recovering = fields.flag()?;
        let clock = fields.set()?;
        let entry = fields.entry()?;
        Ok(Fetched { recovering, clock, entry })
    }
}
