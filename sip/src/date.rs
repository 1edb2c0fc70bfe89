//! The date of a message: `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §20.17; RFC 1123's
//! form with GMT alone). It reads no clock. Called where a signature is over a date.

/// In the order of the year.
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Seconds since 1970; `None` if it is no date of 1970 or later.
pub(crate) fn seconds(value: &[u8]) -> Option<u64> {
    let (_, rest) = crate::text::split_at_first(value, b',');
    let mut words = rest?
        .split(u8::is_ascii_whitespace)
        .filter(|it| !it.is_empty());
    let day = number(words.next()?)?;
    let name = words.next()?;
    let month = MONTHS
        .iter()
        .position(|month| month.eq_ignore_ascii_case(name))?;
    let year = number(words.next()?)?;
    let mut clock = words.next()?.split(|byte| *byte == b':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let zone = words.next()?.eq_ignore_ascii_case(b"GMT");
    let fits = (1..=31).contains(&day) && (1970..10_000).contains(&year);
    if !zone || !fits || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_before(year, month as u64 + 1) + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &[u8]) -> Option<u64> {
    (digits.len() <= 4).then(|| crate::text::decimal(digits))?
}

/// Days from 1970-01-01 to the first of a month, in the Gregorian calendar. Years are
/// counted from March, so that the leap day comes last.
fn days_before(year: u64, month: u64) -> u64 {
    /// Days from 0000-03-01 to 1970-01-01.
    const TO_1970: u64 = 719_468;
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        later => (year, later - 3),
    };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 - TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_rfc_3261_writes_it_and_in_no_other_way() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sat, 13 Nov 2010 23:29:00 GMT", Some(1_289_690_940)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("Sat, 13 Nov 2010 23:29:00 CET", None),
            ("Sat, 13 Nov 2010 24:29:00 GMT", None),
            ("Sat, 13 Non 2010 23:29:00 GMT", None),
            ("Sat, 13 Nov 99999 23:29:00 GMT", None),
            ("13 Nov 2010 23:29:00 GMT", None),
            ("", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }
}
