//! One handshake per connection.

use super::*;

const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03........................";
const CHANGE_CIPHER: &[u8] = b"\x14\x03\x03\x00\x01\x01";
const DATA: &[u8] = b"\x17\x03\x03\x00\x20................................";

fn flow() -> Flow {
    Flow::new(Kind::Tls)
}

#[test]
fn a_client_hello_is_a_handshake() {
    let mut flow = flow();
    for _ in 0..3 {
        flow.opens(500);
        flow.says(HELLO);
        flow.repeats(HELLO);
        flow.hears(3_000);
        flow.says(CHANGE_CIPHER);
        flow.says(DATA);
    }
    flow.ledger(&[(Metric::Handshakes, 3)]);
}

#[test]
fn other_records_need_no_look_up() {
    for payload in [CHANGE_CIPHER, DATA, b"\x16\x03\x03\x00\x28\x00\x00\x00", b"GET / HT"] {
        let payload_len = payload.len() as u32;
        let segment = Segment { seq: 1, ack: 1, syn: false, payload_len };
        assert_eq!(need(Kind::Tls, &segment, &payload), Need::Nothing);
    }
}

#[test]
fn a_client_hello_cut_anywhere_is_a_handshake() {
    for cut in 1..HELLO.len() {
        let mut flow = flow();
        flow.says(&HELLO[..cut]);
        flow.says(&HELLO[cut..]);
        flow.says(DATA);
        flow.ledger(&[(Metric::Handshakes, 1)]);
    }
}

#[test]
fn a_client_hello_in_records_of_any_length_is_a_handshake() {
    let (header, hello) = (&HELLO[..3], &HELLO[5..]);
    for cut in 1..hello.len() {
        let record = |bytes: &[u8]| [header, &[0, bytes.len() as u8], bytes].concat();
        let mut flow = flow();
        flow.says(&[record(&hello[..cut]), record(&hello[cut..])].concat());
        flow.ledger(&[(Metric::Handshakes, 1)]);
    }
}

#[test]
fn a_client_hello_in_the_syn_is_a_handshake() {
    let mut flow = flow();
    flow.see(Segment { seq: 70, ack: 0, syn: true, payload_len: HELLO.len() as u32 }, HELLO);
    flow.sees(71, 9, HELLO);
    flow.ledger(&[(Metric::Handshakes, 1)]);
}

#[test]
fn hole_16_hello_retry_request_is_one_handshake() {
    let mut flow = flow();
    flow.says(HELLO);
    flow.hears(100);
    flow.says(CHANGE_CIPHER);
    flow.says(HELLO);
    flow.ledger(&[(Metric::Handshakes, 1)]);
}

#[test]
fn hole_15_17_18_encrypted_records_never_are() {
    let mut flow = flow();
    flow.says(HELLO);
    flow.hears(3_000);
    // An encrypted Finished of TLS 1.2 that happens to begin like a hello.
    flow.says(b"\x16\x03\x03\x00\x28\x01\x00\x77..................................");
    flow.says(DATA);
    flow.ledger(&[(Metric::Handshakes, 1)]);
}

#[test]
fn hole_24_an_evicted_flow_is_not_counted_again() {
    let mut flow = flow();
    flow.says(HELLO);
    flow.entry = None;
    flow.hears(3_000);
    flow.says(CHANGE_CIPHER);
    flow.says(DATA);
    flow.ledger(&[(Metric::Handshakes, 1)]);
}
