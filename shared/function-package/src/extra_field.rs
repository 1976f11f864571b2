//! Extra fields: a list of (id, length, data) behind an entry's name.
//!
//! Sources: APPNOTE.TXT 6.3.10, sections 4.5 and 4.6; Info-ZIP's `proginfo/extrafld.txt` for ASi Unix.

use crate::{Problem, error::Refusal, inspect::kind_of_mode};

const ZIP64: u16 = 0x0001;
const PKWARE_UNIX: u16 = 0x000d;
const STRONG_ENCRYPTION: u16 = 0x0017;
const ASI_UNIX: u16 = 0x756e;
const UNICODE_PATH: u16 = 0x7075;
const AES: u16 = 0x9901;

/// Times and owner, before the name of what a link leads to.
const PKWARE_UNIX_FIXED_BYTES: usize = 12;
/// Checksum, mode, size of the link or device, owner.
const ASI_UNIX_FIXED_BYTES: usize = 14;

/// What an entry's extra field says that matters here.
#[derive(Debug, Default)]
pub(crate) struct ExtraField<'a> {
    /// The data of the Zip64 field.
    pub(crate) zip64: Option<&'a [u8]>,
}

impl<'a> ExtraField<'a> {
    /// Reads it, and refuses what makes the entry another than it seems.
    pub(crate) fn parse(mut bytes: &'a [u8], name: &[u8]) -> Result<Self, Refusal> {
        let refuse = |problem| Refusal::of_entry(name, problem);
        let mut field = Self::default();
        while let Some((&[id0, id1, length0, length1], rest)) = bytes.split_first_chunk() {
            let id = u16::from_le_bytes([id0, id1]);
            let length = usize::from(u16::from_le_bytes([length0, length1]));
            let data = rest.get(..length).ok_or_else(|| refuse(Problem::ExtraFieldCorrupt))?;
            bytes = &rest[length..];
            match id {
                ZIP64 if field.zip64.is_some() => return Err(refuse(Problem::Zip64Inconsistent)),
                ZIP64 => field.zip64 = Some(data),
                PKWARE_UNIX if data.len() > PKWARE_UNIX_FIXED_BYTES => return Err(refuse(Problem::HardLink)),
                ASI_UNIX => check_asi_unix(data).map_err(refuse)?,
                UNICODE_PATH if data.get(5..) != Some(name) => return Err(refuse(Problem::OtherUnicodeName)),
                STRONG_ENCRYPTION | AES => return Err(refuse(Problem::Encrypted)),
                _ => {}
            }
        }
        // Tools that align data pad with up to three zeros, which are no field.
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(refuse(Problem::ExtraFieldCorrupt));
        }
        Ok(field)
    }

    /// The values that the Zip64 field holds in place of these, in the order of the format. None when they are
    /// not all there, or when there are more.
    pub(crate) fn zip64_values<const N: usize>(&self, fields: [u32; N]) -> Option<[u64; N]> {
        let mut rest = self.zip64.unwrap_or_default();
        let mut values = fields.map(u64::from);
        for (value, field) in values.iter_mut().zip(fields) {
            if field == crate::records::SEE_ZIP64 {
                let (long, after) = rest.split_first_chunk()?;
                *value = u64::from_le_bytes(*long);
                rest = after;
            }
        }
        rest.is_empty().then_some(values)
    }
}

fn check_asi_unix(data: &[u8]) -> Result<(), Problem> {
    let Some((fixed, link)) = data.split_first_chunk::<ASI_UNIX_FIXED_BYTES>() else {
        return Err(Problem::ExtraFieldCorrupt);
    };
    kind_of_mode(u16::from_le_bytes([fixed[4], fixed[5]]))?;
    let link_or_device = u32::from_le_bytes([fixed[6], fixed[7], fixed[8], fixed[9]]);
    if link_or_device != 0 || !link.is_empty() {
        return Err(Problem::HardLink);
    }
    Ok(())
}
