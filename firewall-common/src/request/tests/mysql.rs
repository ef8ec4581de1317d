//! MySQL: commands by name, and each hole.

use std::vec;

use super::super::framing::UNITS;
use super::*;

/// A packet.
pub(super) fn packet(id: u8, payload: &[u8]) -> Vec<u8> {
    let [low, middle, high, _] = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&[low, middle, high, id], payload].concat()
}

/// A command.
pub(super) fn command(byte: u8, rest: &[u8]) -> Vec<u8> {
    packet(0, &[&[byte], rest].concat())
}

/// A login with these capabilities.
pub(super) fn login(capabilities: u32) -> Vec<u8> {
    packet(1, &[&capabilities.to_le_bytes(), [7; 28].as_slice(), b"root\0\x14hash.."].concat())
}

pub(super) const PLAIN: u32 = 0x000a_a205;
pub(super) const SSL: u32 = 1 << 11;

/// A connection that has logged in.
fn flow() -> Flow {
    let mut flow = Flow::new(Kind::Mysql);
    flow.opens(u32::MAX - 100);
    flow.hears(90);
    flow.says(&login(PLAIN));
    flow.hears(11);
    flow
}

#[test]
fn commands_are_counted_by_name() {
    let mut flow = flow();
    let names = [
        (0x01, Metric::MysqlQuit),
        (0x02, Metric::MysqlInitDb),
        (0x03, Metric::MysqlQuery),
        (0x0e, Metric::MysqlPing),
        (0x12, Metric::MysqlBinlogDump),
        (0x16, Metric::MysqlStmtPrepare),
        (0x17, Metric::MysqlStmtExecute),
        (0x11, Metric::MysqlOther),
    ];
    for (byte, _) in names {
        flow.says(&command(byte, b"x"));
        flow.hears(7);
    }
    flow.ledger(&names.map(|(_, metric)| (metric, 1)));
}

#[test]
fn requests_are_queries_and_executions() {
    let requests: Vec<_> = Metric::ALL.iter().filter(|metric| metric.is_request()).collect();
    assert_eq!(
        requests,
        [&Metric::Requests, &Metric::DnsQueries, &Metric::MysqlQuery, &Metric::MysqlStmtExecute]
    );
}

#[test]
fn a_statement_of_headers_is_one_command() {
    let mut flow = flow();
    for _ in 0..3 {
        flow.says_in(1_448, &command(0x03, &b"\x05\x01\x01\x00\x03".repeat(40_000)));
        flow.hears(11);
    }
    flow.ledger(&[(Metric::MysqlQuery, 3)]);
}

#[test]
fn a_statement_above_16_mib_is_one_command() {
    let mut flow = flow();
    let longest = 0xff_ffff;
    let body = vec![3; longest - 1];
    for last in [0, 5_000] {
        flow.says_in(65_000, &command(0x03, &body));
        flow.says_in(65_000, &packet(1, &vec![0; last]));
        flow.hears(11);
        flow.says(&command(0x0e, b""));
        flow.hears(11);
    }
    flow.ledger(&[(Metric::MysqlQuery, 2), (Metric::MysqlPing, 2)]);
}

#[test]
fn a_retransmission_changes_nothing() {
    let mut flow = flow();
    let query = command(0x03, b"select 1");
    flow.says(&query);
    flow.repeats(&query);
    flow.hears(50);
    flow.repeats(&query);
    flow.says(&query);
    flow.ledger(&[(Metric::MysqlQuery, 2)]);
}

#[test]
fn a_retransmission_with_news_behind_it_counts_the_news() {
    let mut flow = flow();
    let close = command(0x19, &[1, 0, 0, 0]);
    let start = flow.seq;
    flow.says(&close);
    flow.sees(start, flow.ack, &[close, command(0x16, b"select ?")].concat());
    flow.ledger(&[(Metric::MysqlOther, 1), (Metric::MysqlStmtPrepare, 1)]);
}

#[test]
fn a_statement_whose_head_is_lost_is_waited_for() {
    let mut flow = flow();
    let query = command(0x03, &b"\x05\x01\x01\x00\x03".repeat(2_000));
    for _ in 0..3 {
        let (head, start) = (&query[..1_448], flow.seq);
        flow.skips(head.len());
        flow.says_in(1_448, &query[1_448..]);
        flow.sees(start, flow.ack, head);
        flow.hears(11);
    }
    flow.ledger(&[(Metric::MysqlQuery, 3)]);
}

#[test]
fn what_never_comes_by_is_a_gap_and_counting_goes_on() {
    let mut flow = flow();
    for lost in [1, 100] {
        for _ in 0..lost {
            flow.skips(command(0x03, b"select 1").len());
            flow.hears(50);
        }
        // The first one may be early, the second one proves that it is not.
        for _ in 0..3 {
            flow.says(&command(0x03, b"select 1"));
            flow.hears(50);
        }
    }
    flow.ledger(&[(Metric::MysqlQuery, 4), (Metric::Gaps, 2)]);
}

#[test]
fn pipelining_and_reordering_together_cost_a_count_and_show_as_a_gap() {
    let mut flow = flow();
    let (close, prepare) = (command(0x19, &[1, 0, 0, 0]), command(0x16, b"select ?"));
    let start = flow.seq;
    flow.skips(close.len());
    flow.says(&prepare);
    flow.sees(start, flow.ack, &close);
    flow.hears(50);
    flow.says(&command(0x17, &[1, 0, 0, 0]));
    flow.ledger(&[(Metric::MysqlOther, 1), (Metric::MysqlStmtExecute, 1), (Metric::Gaps, 1)]);
}

#[test]
fn a_wrong_place_shows() {
    let mut flow = Flow::new(Kind::Mysql);
    // Attached in the middle of a statement, at what looks like a command.
    flow.says(&command(0x03, b"5"));
    let mut entry = flow.entry.unwrap();
    entry.next = entry.next.wrapping_add(9_000_000);
    flow.entry = Some(entry);
    for _ in 0..3 {
        flow.hears(50);
        flow.says(&command(0x03, b"select 1"));
    }
    flow.ledger(&[(Metric::MysqlQuery, 4), (Metric::Resyncs, 1)]);
}

#[test]
fn a_body_sent_again_after_an_early_answer_proves_nothing() {
    let mut flow = flow();
    let imitation = command(0x03, b"5");
    let statement = command(0x03, &[&[b'x'; 1_443], imitation.as_slice()].concat());
    flow.says(&statement[..1_448]);
    flow.says(&imitation);
    flow.hears(30);
    flow.repeats(&imitation);
    flow.ledger(&[(Metric::MysqlQuery, 1)]);
}

#[test]
fn hole_10_ports_used_again_without_a_syn_in_sight() {
    let mut flow = flow();
    flow.seq = flow.seq.wrapping_add(1 << 31);
    flow.hears(1 << 31);
    flow.says(&login(PLAIN));
    flow.hears(11);
    flow.says(&command(0x03, b"select 1"));
    flow.ledger(&[(Metric::MysqlQuery, 1), (Metric::Resyncs, 1)]);
}

#[test]
fn hole_19_a_header_cut_anywhere() {
    for cut in 1..20 {
        let mut flow = flow();
        for _ in 0..3 {
            flow.says_in(cut, &command(0x03, b"select 1"));
            flow.hears(50);
            flow.says_in(cut, &command(0x0e, b""));
            flow.hears(11);
        }
        flow.ledger(&[(Metric::MysqlQuery, 3), (Metric::MysqlPing, 3)]);
    }
}

#[test]
fn hole_19_up_to_the_bound_all_packets_of_a_segment_are_counted() {
    let mut flow = flow();
    let close = command(0x19, &[1, 0, 0, 0]);
    flow.says(&close.repeat(UNITS as usize));
    flow.hears(50);
    flow.says(&command(0x03, b"select 1"));
    flow.ledger(&[(Metric::MysqlOther, UNITS.into()), (Metric::MysqlQuery, 1)]);
}

#[test]
fn hole_19_above_the_bound_it_is_a_resync_and_counting_goes_on() {
    let mut flow = flow();
    let close = command(0x19, &[1, 0, 0, 0]);
    flow.says(&close.repeat(7_000));
    flow.hears(50);
    flow.says(&command(0x03, b"select 1"));
    flow.ledger(&[
        (Metric::MysqlOther, UNITS.into()),
        (Metric::MysqlQuery, 1),
        (Metric::Resyncs, 1),
    ]);
}

#[test]
fn hole_20_load_data_local_is_one_command_however_long() {
    let mut flow = flow();
    for packets in [1, 252, 253, 254, 255, 256, 600] {
        flow.says(&command(0x03, b"load data local infile 'x' into table t"));
        flow.hears(20);
        let mut id = 2;
        for _ in 0..packets {
            flow.says_in(1_448, &packet(id, &[3; 4_000]));
            id = id.wrapping_add(1);
        }
        flow.says(&packet(id, b""));
        flow.hears(11);
    }
    flow.ledger(&[(Metric::MysqlQuery, 7)]);
}

#[test]
fn hole_20_data_before_a_gap_does_not_hide_the_command_behind_it() {
    let mut flow = flow();
    flow.says(&command(0x03, b"load data local infile 'x' into table t"));
    flow.hears(20);
    for id in 2..=255 {
        flow.says(&packet(id, b"data"));
    }
    flow.skips(4);
    for _ in 0..3 {
        flow.hears(11);
        flow.says(&command(0x0e, b""));
    }
    flow.ledger(&[(Metric::MysqlQuery, 1), (Metric::MysqlPing, 2), (Metric::Gaps, 1)]);
}

#[test]
fn hole_21_semi_synchronous_replies_are_no_commands() {
    let mut flow = flow();
    flow.says(&command(0x12, b"\x04\0\0\0\0\0\x02\0\0\0binlog.000001"));
    for _ in 0..10 {
        flow.hears(400);
        flow.says(&packet(0, b"\xef\x04\0\0\0\0\0\0\0binlog.000001"));
    }
    flow.ledger(&[(Metric::MysqlBinlogDump, 1)]);
}

#[test]
fn hole_21_change_user_and_bulk_execute_are_other() {
    let mut flow = flow();
    flow.says(&command(0x11, b"root\0"));
    flow.hears(40);
    flow.says(&packet(3, b"auth switch response"));
    flow.hears(11);
    flow.says(&command(0xfa, b"bulk"));
    flow.ledger(&[(Metric::MysqlOther, 2)]);
}

#[test]
fn hole_22_tls_and_compression_end_the_counting() {
    let ssl_request = packet(1, &[(PLAIN | SSL).to_le_bytes().as_slice(), &[0; 28]].concat());
    let cases = [
        (ssl_request, Metric::MysqlTls),
        (login(PLAIN | 1 << 5), Metric::MysqlCompressed),
        (login(PLAIN | 1 << 26), Metric::MysqlCompressed),
    ];
    for (first, metric) in cases {
        for cut in [1, 5, 7, 8, 1_448] {
            let mut flow = Flow::new(Kind::Mysql);
            flow.says_in(cut, &first);
            for _ in 0..3 {
                flow.hears(100);
                flow.says(&command(0x03, b"select 1"));
            }
            flow.ledger(&[(metric, 1)]);
        }
    }
}

#[test]
fn hole_22_a_login_that_could_turn_to_tls_but_does_not_is_plain() {
    let mut flow = Flow::new(Kind::Mysql);
    flow.says(&login(PLAIN | SSL));
    flow.hears(11);
    flow.says(&command(0x03, b"select 1"));
    flow.ledger(&[(Metric::MysqlQuery, 1)]);
}

#[test]
fn hole_23_attached_in_the_middle_it_starts_at_the_next_command() {
    let mut flow = Flow::new(Kind::Mysql);
    // Inside a statement that imitates headers, which fill no segment exactly.
    flow.says_in(1_448, &b"\x05\x01\x01\x00\x03".repeat(2_000));
    flow.hears(11);
    flow.says(&command(0x03, b"select 1"));
    flow.hears(60);
    flow.says_in(1_448, &command(0x17, &[9; 5_000]));
    flow.ledger(&[(Metric::MysqlQuery, 1), (Metric::MysqlStmtExecute, 1), (Metric::Resyncs, 1)]);
}

#[test]
fn hole_23_attached_at_a_long_statement_it_is_believed_if_it_is_a_turn() {
    let mut flow = Flow::new(Kind::Mysql);
    let long = command(0x03, &[b'x'; 5_000]);
    flow.says_in(1_448, &long);
    flow.hears(11);
    flow.says_in(1_448, &long);
    // The first one was not, and a resync says so.
    flow.ledger(&[(Metric::MysqlQuery, 1), (Metric::Resyncs, 1)]);
}

#[test]
fn hole_23_attached_in_the_middle_only_commands_that_exist_are_believed() {
    let mut flow = Flow::new(Kind::Mysql);
    for byte in [0x00, 0x22, b'G', 0xf9, 0xff] {
        flow.says(&command(byte, b"12345"));
        flow.hears(11);
    }
    flow.ledger(&[(Metric::Resyncs, 1)]);
}

#[test]
fn hole_23_attached_to_tls_or_compression_nothing_is_counted() {
    let mut flow = Flow::new(Kind::Mysql);
    for _ in 0..5 {
        flow.says(&[b"\x17\x03\x03\x00\x1c".as_slice(), &[3; 28]].concat());
        flow.hears(60);
        flow.says(b"\x0d\0\0\0\0\0\0\x09\0\0\0\x03select 1");
        flow.hears(60);
    }
    flow.ledger(&[(Metric::Resyncs, 1)]);
}

#[test]
fn hole_24_an_evicted_flow_counts_on() {
    let mut flow = flow();
    for _ in 0..5 {
        flow.entry = None;
        flow.says(&command(0x03, b"select 1"));
        flow.hears(50);
    }
    flow.ledger(&[(Metric::MysqlQuery, 5)]);
}
