//! The turn rule: each row of its table, and each of its holes.

use std::vec;

use super::super::http1::TOKENS;
use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n";
const POST: &[u8] = b"POST /form HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";

fn flow() -> Flow {
    Flow::new(Kind::Http1)
}

#[test]
fn a_request_per_turn_is_counted() {
    let mut flow = flow();
    flow.opens(u32::MAX - 40);
    for _ in 0..10 {
        flow.says(GET);
        flow.hears(2_000);
    }
    flow.ledger(&[(Metric::Requests, 10)]);
}

#[test]
fn every_listed_method_is_counted() {
    for token in TOKENS {
        let mut flow = flow();
        flow.says(&[token.as_slice(), b"..."].concat());
        flow.ledger(&[(Metric::Requests, 1)]);
    }
}

#[test]
fn without_a_method_no_entry_is_asked_for() {
    let segment = Segment { seq: 1, ack: 1, syn: false, payload_len: 8 };
    for payload in
        [&b"get / HT"[..], b"name=val", b"\x17\x03\x03\x02", b"{\"A\": 1}", b"\r\n", b"XX"]
    {
        assert_eq!(need(Kind::Http1, &segment, &payload), Need::Nothing);
    }
    let empty = Segment { payload_len: 0, ..segment };
    assert_eq!(need(Kind::Http1, &empty, &&b""[..]), Need::Nothing);
    assert_eq!(need(Kind::Http1, &Segment { syn: true, ..empty }, &&b""[..]), Need::Clear);
    assert_eq!(need(Kind::None, &Segment { syn: true, ..empty }, &GET), Need::Nothing);
}

#[test]
fn ethernet_padding_is_not_payload() {
    let segment = Segment { seq: 1, ack: 1, syn: false, payload_len: 0 };
    assert_eq!(need(Kind::Http1, &segment, &GET), Need::Nothing);
    let segment = Segment { payload_len: 3, ..segment };
    assert_eq!(need(Kind::Http1, &segment, &&b"GEx \0\0"[..]), Need::Nothing);
}

#[test]
fn a_retransmission_is_neither_counted_nor_suspect() {
    let mut flow = flow();
    flow.says(GET);
    flow.repeats(GET);
    flow.hears(100);
    flow.repeats(GET);
    flow.ledger(&[(Metric::Requests, 1)]);
}

#[test]
fn a_head_over_five_segments_is_one_request() {
    let mut flow = flow();
    let head = [b"GET / HTTP/1.1\r\nCookie: ", [b'x'; 6_000].as_slice(), b"\r\n\r\n"].concat();
    for _ in 0..3 {
        flow.says_in(1_448, &head);
        flow.hears(300);
    }
    flow.ledger(&[(Metric::Requests, 3)]);
}

#[test]
fn a_body_made_of_requests_is_suspect() {
    let mut flow = flow();
    for _ in 0..3 {
        flow.says(POST);
        for _ in 0..70 {
            flow.says(GET);
        }
        flow.hears(200);
    }
    flow.ledger(&[(Metric::Requests, 3), (Metric::Suspects, 210)]);
}

#[test]
fn a_body_that_comes_before_its_head_counts_in_its_place() {
    let mut flow = flow();
    flow.says(GET);
    flow.hears(200);
    let head = flow.seq;
    flow.skips(POST.len());
    flow.says(GET);
    flow.sees(head, flow.ack, POST);
    flow.ledger(&[(Metric::Requests, 2)]);
}

#[test]
fn hole_1_expect_100_continue_lets_a_hostile_body_add_one() {
    let mut flow = flow();
    flow.says(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    flow.hears(25);
    flow.says(b"GET GET G");
    flow.says(b"GET GET G");
    flow.ledger(&[(Metric::Requests, 2), (Metric::Suspects, 1)]);
}

#[test]
fn hole_2_data_in_the_syn_is_counted_once() {
    let mut flow = flow();
    let syn = Segment { seq: 70, ack: 0, syn: true, payload_len: GET.len() as u32 };
    assert_eq!(need(Kind::Http1, &syn, &GET), Need::Entry);
    flow.see(syn, GET);
    // The server did not take it, and gets it again behind the handshake.
    flow.sees(71, 5_000, GET);
    flow.sees(71 + GET.len() as u32, 5_300, GET);
    flow.ledger(&[(Metric::Requests, 2)]);
}

#[test]
fn hole_2_data_in_the_syn_of_ports_used_again_is_counted() {
    let mut flow = flow();
    flow.says(GET);
    let seq = flow.seq.wrapping_sub(10);
    flow.see(Segment { seq, ack: 0, syn: true, payload_len: GET.len() as u32 }, GET);
    flow.ledger(&[(Metric::Requests, 2)]);
}

#[test]
fn hole_3_websocket_frames_are_masked_and_so_never_count() {
    let mut flow = flow();
    flow.says(b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    flow.hears(129);
    for _ in 0..50 {
        flow.says(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        flow.hears(7);
    }
    flow.ledger(&[(Metric::Requests, 1)]);
    // A hostile client need not mask; the 101 is not visible from here.
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 2)]);
}

#[test]
fn hole_4_chunked_bodies_do_not_count() {
    let mut flow = flow();
    flow.says(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    flow.says(b"5\r\nhello\r\n");
    flow.says(b"e\r\n");
    flow.says(b"GET / HTTP/1.1");
    flow.says(b"\r\n0\r\n\r\n");
    flow.hears(100);
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 2), (Metric::Suspects, 1)]);
}

#[test]
fn hole_5_absolute_form_and_webdav_are_counted_unlisted_methods_are_not() {
    let mut flow = flow();
    for head in ["GET http://example.net/ HTTP/1.1", "PROPFIND / HTTP/1.1", "BREW /pot HTTP/1.1"] {
        flow.says(head.as_bytes());
        flow.hears(10);
    }
    flow.ledger(&[(Metric::Requests, 2)]);
}

#[test]
fn hole_6_a_method_cut_in_two_is_one_request() {
    for cut in 1..8 {
        let mut flow = flow();
        for method in [GET, POST, b"OPTIONS * HTTP/1.1\r\n\r\n"] {
            flow.says(&method[..cut]);
            flow.says(&method[cut..]);
            flow.repeats(method);
            flow.hears(10);
        }
        flow.ledger(&[(Metric::Requests, 3)]);
    }
}

#[test]
fn hole_6_a_method_typed_by_hand_is_one_request() {
    let mut flow = flow();
    flow.says_in(1, b"TRACE / HTTP/1.0\r\n\r\n");
    flow.ledger(&[(Metric::Requests, 1)]);
}

#[test]
fn hole_7_an_early_answer_lets_a_hostile_body_add_one_each_time() {
    let mut flow = flow();
    flow.says(POST);
    flow.hears(150);
    flow.says(GET);
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 2), (Metric::Suspects, 1)]);
}

#[test]
fn hole_8_a_response_of_two_to_four_gib_does_not_stop_counting() {
    let mut flow = flow();
    for _ in 0..4 {
        flow.says(GET);
        flow.hears(3 << 30);
    }
    flow.ledger(&[(Metric::Requests, 4)]);
}

#[test]
fn hole_9_a_body_of_two_to_three_gib_does_not_stop_counting() {
    let mut flow = flow();
    for gib in [1, 2, 3] {
        flow.says(POST);
        flow.skips((gib << 30) - 1);
        flow.hears(100);
    }
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 4)]);
}

#[test]
fn hole_9_a_body_of_three_to_four_gib_does() {
    let mut flow = flow();
    flow.says(POST);
    flow.skips((3 << 30) + (1 << 29));
    flow.hears(100);
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 1), (Metric::Suspects, 1)]);
}

#[test]
fn hole_10_ports_used_again_count_anew() {
    let mut flow = flow();
    flow.says(GET);
    flow.opens(flow.seq.wrapping_sub(5_000));
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 2)]);
    // Without a SYN in sight, the old numbers decide: one in four is suspect.
    flow.seq = flow.seq.wrapping_add(2 << 30);
    flow.hears(1 << 31);
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 3)]);
}

#[test]
fn hole_10_a_syn_that_comes_late_lets_a_retransmission_count() {
    let mut flow = flow();
    flow.opens(99);
    flow.says(GET);
    flow.opens(99);
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 2)]);
}

#[test]
fn hole_14_super_packets_and_own_retransmissions_at_egress() {
    let mut flow = flow();
    let body = [POST, &vec![b'x'; 60_000]].concat();
    for _ in 0..3 {
        flow.says(&body);
        flow.repeats(&body);
        flow.hears(200);
    }
    flow.ledger(&[(Metric::Requests, 3)]);
}

#[test]
fn hole_23_a_connection_older_than_the_agent_counts_from_its_next_request() {
    let mut flow = flow();
    flow.says(b"...the rest of some body");
    flow.hears(100);
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 1)]);
}

#[test]
fn hole_23_another_kind_after_a_reload_starts_anew() {
    let mut flow = flow();
    flow.says(GET);
    flow.kind = Kind::Mysql;
    flow.says(b"\x05\0\0\0\x03ABCD");
    flow.kind = Kind::Http1;
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 2), (Metric::MysqlQuery, 1)]);
}

#[test]
fn hole_24_an_evicted_flow_counts_on_and_a_retransmission_counts_twice() {
    let mut flow = flow();
    flow.says(GET);
    flow.hears(10);
    flow.entry = None;
    flow.says(GET);
    flow.entry = None;
    flow.repeats(GET);
    flow.ledger(&[(Metric::Requests, 3)]);
}

#[test]
fn pipelining_is_seen_once_per_turn() {
    let mut flow = flow();
    flow.says(&GET.repeat(16));
    flow.hears(1_600);
    flow.says(GET);
    flow.says(GET);
    flow.ledger(&[(Metric::Requests, 2), (Metric::Suspects, 1)]);
}

#[test]
fn a_connection_that_begins_in_another_way_is_a_resync_once() {
    let strange: [&[u8]; 6] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PROXY TCP4 192.0.2.1 192.0.2.10 40000 80\r\nGET / HTTP/1.1\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\n\r\n",
        b"ACL /calendar HTTP/1.1\r\n\r\n",
        b"SUBSCRIBE /event HTTP/1.1\r\n\r\n",
    ];
    for first in strange {
        let mut flow = flow();
        for _ in 0..2 {
            flow.opens(70);
            for _ in 0..3 {
                flow.says(first);
                flow.repeats(first);
                flow.hears(50);
            }
        }
        flow.says(GET);
        flow.says(first);
        flow.ledger(&[(Metric::Resyncs, 2), (Metric::Requests, 1)]);
    }
}

#[test]
fn a_body_is_no_resync() {
    let mut flow = flow();
    flow.says(POST);
    for body in [b"\r\n0\r\n\r\n".as_slice(), b"BASE64ISALSOTEXT", b"\x16\x03\x01\x02"] {
        flow.says(body);
        flow.hears(25);
        flow.says(body);
    }
    flow.ledger(&[(Metric::Requests, 1)]);
    // Nor is one that comes when its entry has been evicted, as most begin.
    flow.entry = None;
    for body in [b"name=value".as_slice(), b"{\"name\": 1}", b"\x81\x85\x37\xfa", b"\r\n", b"XX"] {
        flow.says(body);
    }
    flow.ledger(&[(Metric::Requests, 1)]);
}
