//! Where a number could be, and what time it is there.
//!
//! A table leads from country codes (ITU-T E.164) and North American area codes
//! (NANPA) to the zones of the tz database; its rules are read from the system
//! at the start, so that daylight saving is right by what Debian ships. A number
//! whose zone is ambiguous has all of them; one that is unknown has none, and a
//! policy that asks refuses. A mobile phone travels: the number's home is what
//! can be known. The decision thread asks it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offhook_core::input::Fact;

/// Where Debian keeps the rules, unless `TZDIR` says otherwise (tzset(3)).
const ROOT: &str = "/usr/share/zoneinfo";
/// The largest file of the database is below 4 kB; none is worth more.
const FILE_MAX: u64 = 64 * 1024;

/// Area codes of the North American Numbering Plan, by the zones they lie in.
/// Where a code spans a boundary it stands in both. Compared, code by code and by the
/// offsets of January and July, with the time zones of libphonenumber 9.0.43 (all of its
/// zones are here, and codes that NANPA has assigned since); a wrong zone too many makes
/// a window narrower, never wider.
const AREAS: &[(&str, &str)] = &[
    (
        "America/New_York",
        "201 202 203 207 212 215 216 219 220 223 227 229 231 234 239 240 248 252 260 267 269 270 272 276 283 301 302 304 305 313 315 317 321 324 326 329 330 332 336 339 347 351 352 363 364 380 386 401 404 407 410 412 413 419 423 434 436 440 443 445 448 463 470 472 475 478 484 502 508 513 516 517 518 540 551 561 567 570 571 574 582 585 586 603 606 607 609 610 614 616 617 624 631 640 645 646 656 667 678 679 680 681 686 689 703 704 706 716 717 718 724 727 728 732 734 740 743 754 757 762 765 770 771 772 774 781 786 802 803 804 810 812 813 814 821 826 828 835 838 839 843 845 848 850 854 856 857 859 860 862 863 864 865 878 904 906 908 910 912 914 917 919 929 930 931 934 937 941 943 947 948 954 959 973 978 980 984 989",
    ),
    (
        "America/Chicago",
        "205 210 214 217 218 219 224 225 228 235 251 254 256 262 270 274 281 308 309 312 314 316 318 319 320 325 327 331 334 337 346 353 361 364 402 405 409 414 417 423 430 432 447 448 464 469 479 501 504 507 512 515 531 534 539 557 563 572 573 574 580 601 605 606 608 612 615 618 620 629 630 636 641 651 659 660 662 682 689 701 708 712 713 715 726 729 730 731 737 763 769 773 779 785 806 812 815 816 817 830 832 847 850 861 870 872 901 903 906 913 915 918 920 924 930 931 936 938 940 945 952 956 972 975 979 985",
    ),
    (
        "America/Denver",
        "208 303 307 308 385 406 432 435 458 505 541 575 605 620 701 719 720 748 775 785 801 915 928 970 983 986",
    ),
    ("America/Phoenix", "480 520 602 623 928"),
    (
        "America/Los_Angeles",
        "206 208 209 213 253 279 310 323 341 350 357 360 369 408 415 424 425 442 458 503 509 510 530 541 559 562 564 619 626 628 650 657 661 669 702 707 714 725 738 747 760 775 805 818 820 831 837 840 858 909 916 925 949 951 971 986",
    ),
    ("America/Anchorage", "907"),
    ("America/Adak", "907"),
    ("Pacific/Honolulu", "808 907"),
    ("America/Halifax", "354 367 418 428 506 581 782 902"),
    ("America/St_Johns", "709 879"),
    ("America/Goose_Bay", "709 879"),
    (
        "America/Toronto",
        "226 249 263 273 289 343 354 365 367 382 416 418 437 438 450 468 514 519 548 579 581 613 647 683 705 742 753 807 819 867 873 905 942",
    ),
    ("America/Winnipeg", "204 431 474 584 807 867"),
    ("America/Regina", "306 474 639"),
    (
        "America/Edmonton",
        "236 250 306 368 403 474 587 639 672 778 780 825 867",
    ),
    ("America/Vancouver", "236 250 257 604 672 778 867"),
    ("America/Whitehorse", "867"),
    (
        "America/Puerto_Rico",
        "246 264 268 284 340 473 664 721 758 767 784 787 809 829 849 868 869 879 939",
    ),
    ("America/Jamaica", "345 658 876"),
    ("America/Nassau", "242"),
    ("America/Grand_Turk", "649"),
    ("Atlantic/Bermuda", "441"),
    ("Pacific/Guam", "670 671"),
    ("Pacific/Pago_Pago", "684"),
];

/// Country codes by the zones of the country. A code that is not here is unknown.
const COUNTRIES: &[(&str, &[&str])] = &[
    (
        "7",
        &[
            "Europe/Kaliningrad",
            "Europe/Moscow",
            "Europe/Samara",
            "Asia/Yekaterinburg",
            "Asia/Omsk",
            "Asia/Krasnoyarsk",
            "Asia/Irkutsk",
            "Asia/Yakutsk",
            "Asia/Vladivostok",
            "Asia/Magadan",
            "Asia/Kamchatka",
            "Asia/Almaty",
        ],
    ),
    ("20", &["Africa/Cairo"]),
    ("27", &["Africa/Johannesburg"]),
    ("30", &["Europe/Athens"]),
    ("31", &["Europe/Amsterdam"]),
    ("32", &["Europe/Brussels"]),
    ("33", &["Europe/Paris"]),
    ("34", &["Europe/Madrid", "Atlantic/Canary"]),
    ("36", &["Europe/Budapest"]),
    ("39", &["Europe/Rome"]),
    ("40", &["Europe/Bucharest"]),
    ("41", &["Europe/Zurich"]),
    ("43", &["Europe/Vienna"]),
    ("44", &["Europe/London"]),
    ("45", &["Europe/Copenhagen"]),
    ("46", &["Europe/Stockholm"]),
    ("47", &["Europe/Oslo"]),
    ("48", &["Europe/Warsaw"]),
    ("49", &["Europe/Berlin"]),
    ("51", &["America/Lima"]),
    (
        "52",
        &[
            "America/Mexico_City",
            "America/Cancun",
            "America/Hermosillo",
            "America/Mazatlan",
            "America/Tijuana",
            "America/Ojinaga",
            "America/Ciudad_Juarez",
            "America/Matamoros",
        ],
    ),
    ("54", &["America/Argentina/Buenos_Aires"]),
    (
        "55",
        &[
            "America/Sao_Paulo",
            "America/Manaus",
            "America/Rio_Branco",
            "America/Noronha",
        ],
    ),
    (
        "56",
        &["America/Santiago", "America/Punta_Arenas", "Pacific/Easter"],
    ),
    ("57", &["America/Bogota"]),
    ("58", &["America/Caracas"]),
    ("60", &["Asia/Kuala_Lumpur"]),
    (
        "61",
        &[
            "Australia/Perth",
            "Australia/Darwin",
            "Australia/Adelaide",
            "Australia/Brisbane",
            "Australia/Sydney",
            "Australia/Hobart",
            "Australia/Lord_Howe",
            "Australia/Eucla",
            "Indian/Christmas",
            "Indian/Cocos",
        ],
    ),
    ("62", &["Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura"]),
    ("63", &["Asia/Manila"]),
    ("64", &["Pacific/Auckland", "Pacific/Chatham"]),
    ("65", &["Asia/Singapore"]),
    ("66", &["Asia/Bangkok"]),
    ("81", &["Asia/Tokyo"]),
    ("82", &["Asia/Seoul"]),
    ("84", &["Asia/Ho_Chi_Minh"]),
    ("86", &["Asia/Shanghai", "Asia/Urumqi"]),
    ("90", &["Europe/Istanbul"]),
    ("91", &["Asia/Kolkata"]),
    ("92", &["Asia/Karachi"]),
    ("94", &["Asia/Colombo"]),
    ("98", &["Asia/Tehran"]),
    ("212", &["Africa/Casablanca", "Africa/El_Aaiun"]),
    ("213", &["Africa/Algiers"]),
    ("216", &["Africa/Tunis"]),
    ("234", &["Africa/Lagos"]),
    ("254", &["Africa/Nairobi"]),
    (
        "351",
        &["Europe/Lisbon", "Atlantic/Azores", "Atlantic/Madeira"],
    ),
    ("352", &["Europe/Luxembourg"]),
    ("353", &["Europe/Dublin"]),
    ("354", &["Atlantic/Reykjavik"]),
    ("355", &["Europe/Tirane"]),
    ("356", &["Europe/Malta"]),
    ("357", &["Asia/Nicosia", "Asia/Famagusta"]),
    ("358", &["Europe/Helsinki"]),
    ("359", &["Europe/Sofia"]),
    ("370", &["Europe/Vilnius"]),
    ("371", &["Europe/Riga"]),
    ("372", &["Europe/Tallinn"]),
    ("380", &["Europe/Kyiv"]),
    ("381", &["Europe/Belgrade"]),
    ("385", &["Europe/Zagreb"]),
    ("386", &["Europe/Ljubljana"]),
    ("420", &["Europe/Prague"]),
    ("421", &["Europe/Bratislava"]),
    ("423", &["Europe/Vaduz"]),
    ("852", &["Asia/Hong_Kong"]),
    ("886", &["Asia/Taipei"]),
    ("965", &["Asia/Kuwait"]),
    ("966", &["Asia/Riyadh"]),
    ("971", &["Asia/Dubai"]),
    ("972", &["Asia/Jerusalem"]),
    ("974", &["Asia/Qatar"]),
];

/// The names of the zones that a number in E.164 could be in; none = unknown.
/// An area code of North America that is not known could be in any of its zones.
pub fn zones_of(number: &str) -> Vec<&'static str> {
    let Some(digits) = number.strip_prefix('+') else {
        return Vec::new();
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.len() < 7 {
        return Vec::new();
    }
    if let Some(national) = digits.strip_prefix('1') {
        let area = national.get(..3).unwrap_or_default();
        let zone = |(zone, areas): &(&'static str, &str)| {
            areas.split(' ').any(|known| known == area).then_some(*zone)
        };
        let zones: Vec<&str> = AREAS.iter().filter_map(zone).collect();
        return match zones.is_empty() {
            true => AREAS.iter().map(|(zone, _)| *zone).collect(),
            false => zones,
        };
    }
    let country = COUNTRIES.iter().find(|(code, _)| digits.starts_with(code));
    country.map_or_else(Vec::new, |(_, zones)| zones.to_vec())
}

/// When the clock of a zone changes, and to which offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules {
    /// Before the first change.
    first: i64,
    /// From this second since 1970 on, so many seconds east of Greenwich.
    changes: Vec<(i64, i64)>,
    /// After the last change the rules go on otherwise than they stand there.
    goes_on: bool,
}

impl Rules {
    /// Seconds east of Greenwich then; `None` beyond what is known.
    fn offset(&self, at: i64) -> Option<i64> {
        let after = self.changes.partition_point(|(from, _)| *from <= at);
        if after == self.changes.len() && after > 0 && self.goes_on {
            return None;
        }
        Some(match after.checked_sub(1) {
            Some(last) => self.changes[last].1,
            None => self.first,
        })
    }

    /// A file of the tz database, version 2 or later (RFC 9636 §3).
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = Header::read(bytes)?;
        // The first block has 32-bit times; the second one says the same in 64.
        let (header, rest) = Header::read(rest.get(header.length(4)..)?)?;
        let times = rest.get(..header.times * 8)?;
        let kinds = rest.get(header.times * 8..header.times * 9)?;
        let types = rest.get(header.times * 9..header.times * 9 + header.types * 6)?;
        let offset = |kind: usize| {
            let bytes = types.get(kind * 6..kind * 6 + 4)?;
            Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?)))
        };
        let mut changes = Vec::with_capacity(header.times);
        for (time, kind) in times.chunks_exact(8).zip(kinds) {
            let time = i64::from_be_bytes(time.try_into().ok()?);
            changes.push((time, offset(usize::from(*kind))?));
        }
        let footer = rest.get(header.length(8)..)?;
        Some(Self {
            first: offset(0)?,
            changes,
            // `EST5EDT,M3.2.0,M11.1.0`: what is after the comma are yearly changes.
            goes_on: footer.contains(&b','),
        })
    }
}

/// How much of each there is in a block (RFC 9636 §3.1).
struct Header {
    utc: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = bytes.split_at_checked(44)?;
        if !header.starts_with(b"TZif") || header[4] < b'2' {
            return None;
        }
        let count = |place: usize| {
            let bytes = header[20 + place * 4..24 + place * 4].try_into().ok()?;
            usize::try_from(u32::from_be_bytes(bytes))
                .ok()
                .filter(|count| *count <= 65_536)
        };
        let header = Self {
            utc: count(0)?,
            standard: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            letters: count(5)?,
        };
        Some((header, rest))
    }

    /// Bytes of the block after its header, with times of that size.
    fn length(&self, time: usize) -> usize {
        self.times * (time + 1)
            + self.types * 6
            + self.letters
            + self.leaps * (time + 4)
            + self.standard
            + self.utc
    }
}

/// The rules of every zone of the table.
#[derive(Debug, Default)]
pub struct Zones(BTreeMap<&'static str, Rules>);

impl Zones {
    /// Reads the rules; a zone whose file is missing or strange is unknown, and
    /// with it every number that could be there.
    pub fn load() -> Self {
        let named = AREAS.iter().map(|(zone, _)| *zone);
        let named = named.chain(
            COUNTRIES
                .iter()
                .flat_map(|(_, zones)| zones.iter().copied()),
        );
        let root = std::env::var_os("TZDIR").map_or_else(|| ROOT.into(), PathBuf::from);
        let rules = named.filter_map(|name| Some((name, read(&root.join(name))?)));
        Self(rules.collect())
    }

    /// Zones whose rules are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No rules at all: the system has no tz database.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Minute of the day and weekday (1 Monday to 7 Sunday) in each zone that the
    /// number could be in, at this wall time; `None` when one of them is unknown.
    pub fn times(&self, number: &str, wall: Duration) -> Option<Vec<(i64, i64)>> {
        let at = i64::try_from(wall.as_secs()).ok()?;
        let zones = zones_of(number);
        let time = |zone: &&str| {
            let local = at + self.0.get(*zone)?.offset(at)?;
            // The first of January 1970 was a Thursday.
            let weekday = (local.div_euclid(86_400) + 3).rem_euclid(7) + 1;
            Some((local.rem_euclid(86_400) / 60, weekday))
        };
        let times: Option<Vec<(i64, i64)>> = zones.iter().map(time).collect();
        times.filter(|times| !times.is_empty())
    }

    /// What the gate may know of the time where a number could be.
    pub fn facts(&self, number: &str, wall: Duration) -> Vec<Fact> {
        let times = self.times(number, wall).unwrap_or_default();
        let minutes: Vec<i64> = times.iter().map(|(minute, _)| *minute).collect();
        let weekdays: Vec<i64> = times.iter().map(|(_, weekday)| *weekday).collect();
        let agreed = |all: &[i64]| {
            let first = all.first()?;
            all.iter().all(|one| one == first).then_some(*first)
        };
        let values = [
            ("local_minute", agreed(&minutes)),
            ("local_minute_first", minutes.iter().min().copied()),
            ("local_minute_last", minutes.iter().max().copied()),
            ("weekday", agreed(&weekdays)),
            ("weekday_first", weekdays.iter().min().copied()),
            ("weekday_last", weekdays.iter().max().copied()),
        ];
        let fact = |(name, value): (&str, Option<i64>)| Fact {
            name: name.to_owned(),
            value,
        };
        values.map(fact).into()
    }
}

fn read(path: &Path) -> Option<Rules> {
    let size = std::fs::metadata(path).ok()?.len();
    (size <= FILE_MAX)
        .then(|| std::fs::read(path).ok())
        .flatten()
        .and_then(|it| Rules::parse(&it))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-08 12:00 UTC: the clocks of North America have gone forward by then.
    const SPRING: u64 = 1_772_971_200;

    fn value(number: &str, wall: u64, name: &str) -> Option<i64> {
        let zones = Zones::load();
        assert!(zones.len() > 100, "tzdata is installed: {}", zones.len());
        let facts = zones.facts(number, Duration::from_secs(wall));
        facts.into_iter().find(|fact| fact.name == name)?.value
    }

    #[test]
    fn a_number_has_the_zones_of_its_area_or_country() {
        for (number, zones) in [
            ("+12125550100", &["America/New_York"][..]),
            ("+13035550100", &["America/Denver"]),
            ("+12085550100", &["America/Denver", "America/Los_Angeles"]),
            ("+9285550100", &["Asia/Karachi"]),
            ("+19285550100", &["America/Denver", "America/Phoenix"]),
            ("+4930123456", &["Europe/Berlin"]),
            ("+34911234567", &["Europe/Madrid", "Atlantic/Canary"]),
        ] {
            assert_eq!(zones_of(number), zones, "{number}");
        }
        for number in [
            "",
            "100",
            "5550100",
            "+",
            "+999123456789",
            "+49x30123",
            "+1",
        ] {
            assert_eq!(zones_of(number), [""; 0], "{number}");
        }
        assert_eq!(
            zones_of("+18005550100").len(),
            AREAS.len(),
            "could be anywhere there"
        );
    }

    #[test]
    fn no_code_of_a_country_hides_another() {
        for (place, (code, _)) in COUNTRIES.iter().enumerate() {
            let hidden = COUNTRIES[place + 1..]
                .iter()
                .find(|(other, _)| other.starts_with(code));
            assert_eq!(hidden, None, "{code}");
        }
        for (zone, areas) in AREAS {
            for area in areas.split(' ') {
                assert!(
                    area.len() == 3 && area.bytes().all(|b| b.is_ascii_digit()),
                    "{zone} {area}"
                );
            }
        }
    }

    #[test]
    fn daylight_saving_is_right_to_the_second() {
        // New York: 2026-03-08 07:00 UTC, from 01:59 EST to 03:00 EDT.
        assert_eq!(
            value("+12125550100", SPRING - 5 * 3_600 - 1, "local_minute"),
            Some(119)
        );
        assert_eq!(
            value("+12125550100", SPRING - 5 * 3_600, "local_minute"),
            Some(180)
        );
        // Berlin: 2026-10-25 01:00 UTC, from 02:59 CEST back to 02:00 CET.
        assert_eq!(
            value("+4930123456", 1_792_890_000 - 1, "local_minute"),
            Some(179)
        );
        assert_eq!(
            value("+4930123456", 1_792_890_000, "local_minute"),
            Some(120)
        );
        assert_eq!(value("+4930123456", 1_792_890_000, "weekday"), Some(7));
    }

    #[test]
    fn an_ambiguous_number_has_the_widest_hours_and_no_single_one() {
        // Idaho: Mountain 06:00, Pacific 05:00 at noon UTC of that day.
        assert_eq!(value("+12085550100", SPRING, "local_minute"), None);
        assert_eq!(
            value("+12085550100", SPRING, "local_minute_first"),
            Some(300)
        );
        assert_eq!(
            value("+12085550100", SPRING, "local_minute_last"),
            Some(360)
        );
        assert_eq!(value("+12085550100", SPRING, "weekday"), Some(7));
        // From Pago Pago to Guam it is Sunday then.
        assert_eq!(value("+18005550100", SPRING, "weekday_first"), Some(7));
        assert_eq!(value("5550100", SPRING, "local_minute_first"), None);
    }

    #[test]
    fn what_is_no_zone_file_is_no_zone() {
        assert_eq!(Rules::parse(b""), None);
        assert_eq!(Rules::parse(&[0; 200]), None);
        let mut huge = b"TZif2".to_vec();
        huge.resize(44, 0xff);
        assert_eq!(Rules::parse(&huge), None);
        let whole = std::fs::read(Path::new(ROOT).join("Europe/Berlin")).unwrap();
        for end in 0..whole.len().min(400) {
            assert_eq!(Rules::parse(&whole[..end]), None, "cut at {end}");
        }
    }
}
