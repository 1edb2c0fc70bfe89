//! For which numbers a certificate may sign: its TNAuthList (RFC 8226 §9), read from
//! the certificate's DER. It does not judge the certificate. Called by `stir`.

/// id-pe-TNAuthList, 1.3.6.1.5.5.7.1.26 (RFC 8226 §9).
const TN_AUTH_LIST: &[u8] = &[0x2B, 6, 1, 5, 5, 7, 1, 26];
/// Entries that are read; a list of more lets nobody sign for the rest.
const ENTRIES_MAX: usize = 256;

/// Tags of DER (X.690 §8).
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const IA5: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
/// Extensions of a certificate (RFC 5280 §4.1).
const EXTENSIONS: u8 = 0xA3;
/// The choices of an entry: a provider's code, a range, one number.
const PROVIDER: u8 = 0xA0;
const RANGE: u8 = 0xA1;
const ONE: u8 = 0xA2;

/// What a certificate says of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Codes of providers, whose numbers are known elsewhere.
    pub(super) providers: Vec<String>,
    /// First and last, as digits of the same length.
    ranges: Vec<(String, String)>,
}

impl Numbers {
    /// What stands in a certificate; `None` if it says nothing of numbers, `Err` if what
    /// it says cannot be read.
    pub(super) fn of(certificate: &[u8]) -> Option<Result<Self, ()>> {
        let list = extension(certificate)?;
        Some(Self::read(list).ok_or(()))
    }

    fn read(list: &[u8]) -> Option<Self> {
        let mut numbers = Self::default();
        let (entries, after) = taken(list, SEQUENCE)?;
        let mut rest = entries;
        for _ in 0..ENTRIES_MAX {
            if rest.is_empty() {
                break;
            }
            let (tag, entry, later) = element(rest)?;
            rest = later;
            match tag {
                PROVIDER => numbers.providers.push(digits(taken(entry, IA5)?.0)?),
                ONE => {
                    let one = digits(taken(entry, IA5)?.0)?;
                    numbers.ranges.push((one.clone(), one));
                }
                RANGE => numbers.ranges.push(range(entry)?),
                _ => return None,
            }
        }
        after.is_empty().then_some(numbers)
    }

    /// Whether it may sign for this number, written as digits. Which numbers are a
    /// provider's, is not known here.
    pub(super) fn cover(&self, number: &str) -> bool {
        let within = |(first, last): &(String, String)| {
            number.len() == first.len() && (first.as_str()..=last.as_str()).contains(&number)
        };
        !self.providers.is_empty() || self.ranges.iter().any(within)
    }
}

/// `TelephoneNumberRange`: where it begins, and how many.
fn range(entry: &[u8]) -> Option<(String, String)> {
    let (range, _) = taken(entry, SEQUENCE)?;
    let (start, rest) = taken(range, IA5)?;
    let (count, _) = taken(rest, INTEGER)?;
    let first = digits(start)?;
    let count = count.iter().try_fold(0_u64, |sum, octet| {
        Some(sum.checked_mul(256)? + u64::from(*octet))
    })?;
    let last = first
        .parse::<u64>()
        .ok()?
        .checked_add(count.checked_sub(1)?)?;
    let last = format!("{last:0width$}", width = first.len());
    (last.len() == first.len()).then_some((first, last))
}

fn digits(text: &[u8]) -> Option<String> {
    let known = |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b'*' | b'#');
    let good = !text.is_empty() && text.len() <= 15 && text.iter().all(known);
    good.then(|| String::from_utf8_lossy(text).into_owned())
}

/// The value of the extension in a certificate.
fn extension(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = taken(certificate, SEQUENCE)?;
    let (mut words, _) = taken(certificate, SEQUENCE)?;
    let extensions = loop {
        let (tag, body, later) = element(words)?;
        if tag == EXTENSIONS {
            break body;
        }
        words = later;
    };
    let (mut all, _) = taken(extensions, SEQUENCE)?;
    loop {
        let (one, later) = taken(all, SEQUENCE)?;
        let (name, mut value) = taken(one, OID)?;
        if name == TN_AUTH_LIST {
            let (tag, body, after) = element(value)?;
            if tag != OCTETS {
                // Whether it is critical.
                value = after;
                return taken(value, OCTETS).map(|(list, _)| list);
            }
            return Some(body);
        }
        all = later;
    }
}

/// The body of an element with this tag, and what follows it.
fn taken(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, body, rest) = element(der)?;
    (tag == wanted).then_some((body, rest))
}

/// Tag, body and what follows (X.690 §8.1; lengths of up to four octets).
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            let length = octets.iter().fold(0, |sum, it| sum << 8 | usize::from(*it));
            (length, rest)
        }
        _ => return None,
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((*tag, body, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let mut all = vec![tag, u8::try_from(body.len()).unwrap()];
        all.extend(body);
        all
    }

    #[test]
    fn a_list_covers_its_numbers_and_ranges_and_no_other() {
        let one = der(ONE, &[&der(IA5, &[b"4930555"])]);
        let range = der(
            RANGE,
            &[&der(
                SEQUENCE,
                &[&der(IA5, &[b"4930600"]), &der(INTEGER, &[&[100]])],
            )],
        );
        let numbers = Numbers::read(&der(SEQUENCE, &[&one, &range])).unwrap();
        let table = [
            ("4930555", true),
            ("4930556", false),
            ("4930600", true),
            ("4930699", true),
            ("4930700", false),
            ("493060", false),
            ("49306000", false),
            ("", false),
        ];
        for (number, expected) in table {
            assert_eq!(numbers.cover(number), expected, "{number}");
        }
        let provider = der(PROVIDER, &[&der(IA5, &[b"709J"])]);
        let numbers = Numbers::read(&der(SEQUENCE, &[&provider])).unwrap();
        assert_eq!(numbers.providers, ["709J"]);
        assert!(numbers.cover("1"));
    }

    #[test]
    fn what_is_no_list_is_not_read() {
        let endless = der(
            RANGE,
            &[&der(
                SEQUENCE,
                &[&der(IA5, &[b"99"]), &der(INTEGER, &[&[9]])],
            )],
        );
        for list in [
            &b""[..],
            &[SEQUENCE, 5, 1],
            &der(SEQUENCE, &[&der(0xA7, &[])]),
            &der(SEQUENCE, &[&endless]),
            &der(SEQUENCE, &[&der(ONE, &[&der(IA5, &[b""])])]),
        ] {
            assert_eq!(Numbers::read(list), None, "{list:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_certificate_holds_it_is_read_to_an_end(
            octets in prop::collection::vec(any::<u8>(), 0..300)
        ) {
            let _ = Numbers::of(&octets);
            let _ = Numbers::read(&octets);
        }
    }
}
