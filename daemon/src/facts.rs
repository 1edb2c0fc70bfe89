//! Facts that the daemon knows and the core does not: the clock on the wall.

use offhook_core::input::Fact;

use crate::clock;

/// Minutes of the local day (0 to 1439) and day of the week (1 Monday to 7 Sunday), in
/// the zone of the box (`TZ` or `/etc/localtime`).
pub fn wall_clock() -> Vec<Fact> {
    let seconds = libc::time_t::try_from(clock::wall().as_secs()).unwrap_or_default();
    // SAFETY: a zeroed `tm` is a valid value of this plain C struct.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call; localtime_r keeps neither.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut local) };
    // tm_wday counts from Sunday = 0.
    let weekday = if local.tm_wday == 0 {
        7
    } else {
        i64::from(local.tm_wday)
    };
    vec![
        fact(
            "local_minute",
            i64::from(local.tm_hour) * 60 + i64::from(local.tm_min),
        ),
        fact("weekday", weekday),
    ]
}

/// A fact with a value.
pub fn fact(name: &str, value: i64) -> Fact {
    Fact {
        name: name.to_owned(),
        value: Some(value),
    }
}
