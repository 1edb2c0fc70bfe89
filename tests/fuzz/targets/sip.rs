//! Any bytes as one SIP message: cut, checked, each value asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_sip::parse::{Message, View};

fuzz_target!(|bytes: &[u8]| {
    let Ok(view) = View::read(bytes) else {
        return;
    };
    let _ = view.body();
    match view.check() {
        Ok(Message::Request(request)) => {
            let _ = (request.unsupported(&["100rel"]), request.accepts_sdp());
        }
        Ok(Message::Response(response)) => {
            let _ = (response.retry_after(), response.contacts());
        }
        Err(defect) => assert!((400..600).contains(&defect.status().code())),
    }
});
