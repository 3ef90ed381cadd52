use schemas::limit::{BODY_BYTES_CEILING, EVENT_BYTES_MAX, MESSAGE_BYTES_MAX, TOKEN_BYTES_MAX};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[test]
fn a_record_has_room_for_its_headers_beside_the_largest_body_and_the_largest_event() {
    assert_eq!(BODY_BYTES_CEILING + MIB, MESSAGE_BYTES_MAX);
    assert_eq!(EVENT_BYTES_MAX + 64 * KIB, MESSAGE_BYTES_MAX);
    assert_eq!((MESSAGE_BYTES_MAX, TOKEN_BYTES_MAX), (16 * MIB, MIB), "as the messages and the pages say");
}
