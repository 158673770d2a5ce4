//! Transactions, groups, and the directory that keeps them.

use super::*;

/// Opens a transaction with one record and one group offset in it.
fn open_transaction(client: &mut Client, sequence: i32) -> (ProducerId, i16) {
    let id = || TransactionalId(text("tx"));
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(id()))
        .with_transaction_timeout_ms(60_000);
    let init = client.call(init.with_producer_id(ProducerId(-1)).with_producer_epoch(-1), 4);
    assert_eq!(init.error_code, 0);
    let (producer, epoch) = (init.producer_id, init.producer_epoch);
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![0]);
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id())
        .with_v3_and_below_producer_id(producer)
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(vec![topic]);
    let added = client.call(add, 3);
    assert_eq!(
        added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code,
        0
    );
    let meta = BatchMeta {
        attributes: batch::TRANSACTIONAL,
        producer_id: producer.0,
        producer_epoch: epoch,
        base_sequence: sequence,
        ..BatchMeta::plain(0, 1)
    };
    assert_eq!(produce(client, "t", encode(&["txn"], meta), Some("tx"), 9).0, 0);
    let group = || GroupId(text("g"));
    let offsets = AddOffsetsToTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(producer)
        .with_producer_epoch(epoch)
        .with_group_id(group());
    assert_eq!(client.call(offsets, 3).error_code, 0);
    let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(7);
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    let commit = TxnOffsetCommitRequest::default()
        .with_transactional_id(id())
        .with_group_id(group())
        .with_producer_id(producer)
        .with_producer_epoch(epoch)
        .with_generation_id(-1)
        .with_topics(vec![topic]);
    assert_eq!(client.call(commit, 3).topics[0].partitions[0].error_code, 0);
    (producer, epoch)
}

fn end_transaction(client: &mut Client, producer: (ProducerId, i16), commit: bool) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text("tx")))
        .with_producer_id(producer.0)
        .with_producer_epoch(producer.1)
        .with_committed(commit);
    client.call(request, 3).error_code
}

fn committed_offset(client: &mut Client) -> (i16, i64) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("g")))
        .with_member_epoch(-1)
        .with_topics(Some(vec![topic]));
    let answer = client.call(
        OffsetFetchRequest::default()
            .with_groups(vec![group])
            .with_require_stable(true),
        9,
    );
    let partition = &answer.groups[0].topics[0].partitions[0];
    (partition.error_code, partition.committed_offset)
}

#[test]
fn transactions_are_seen_when_they_commit_and_can_be_looked_at_before() {
    with_broker(|broker| {
        let mut client = Client::connect(broker.addr());
        create(&mut client, "t", 1, &[]);
        let producer = open_transaction(&mut client, 0);
        assert_eq!(values(&fetch(&mut client, "t", 0, true, 11)), [""; 0]);
        assert_eq!(fetch(&mut client, "t", 0, true, 11).last_stable_offset, 0);
        assert_eq!(committed_offset(&mut client).0, ErrorCode::UnstableOffsetCommit.code());
        let open = ListTransactionsRequest::default().with_state_filters(vec![text("Ongoing")]);
        assert_eq!(client.call(open.clone(), 0).transaction_states.len(), 1);
        assert_eq!(end_transaction(&mut client, producer, true), 0);
        assert_eq!(values(&fetch(&mut client, "t", 0, true, 11)), ["txn"]);
        assert_eq!(committed_offset(&mut client), (0, 7));
        assert_eq!(client.call(open, 0).transaction_states.len(), 0);
        // Aborted: the data is there, with the note that it does not count.
        let producer = open_transaction(&mut client, 0);
        assert_eq!(end_transaction(&mut client, producer, false), 0);
        for version in 4..=12 {
            let partition = fetch(&mut client, "t", 0, true, version);
            let aborted = partition.aborted_transactions.clone().unwrap();
            assert_eq!(aborted.len(), 1, "v{version}");
            assert_eq!((aborted[0].producer_id, aborted[0].first_offset), (producer.0, 2));
        }
        // A newer producer fences this one.
        let newer = open_transaction(&mut client, 0);
        assert_eq!(
            end_transaction(&mut client, producer, true),
            ErrorCode::ProducerFenced.code()
        );
        assert_eq!(end_transaction(&mut client, newer, true), 0);
        let latest = ListOffsetsPartition::default().with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![latest]);
        let ends = client.call(
            ListOffsetsRequest::default()
                .with_isolation_level(1)
                .with_topics(vec![topic]),
            7,
        );
        assert_eq!(ends.topics[0].partitions[0].offset, 6);
    });
}

fn join_request(member: &str, session_ms: i32) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_member_id(text(member))
        .with_session_timeout_ms(session_ms)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

#[test]
fn members_wait_for_each_other_and_a_closed_connection_is_noticed() {
    with_broker(|broker| {
        let mut a = Client::connect(broker.addr());
        let first = a.call(join_request("", 30_000), 3);
        assert_eq!((first.error_code, first.members.len()), (0, 1));
        let mut b = Client::connect(broker.addr());
        b.send(&join_request("", 30_000), 3);
        let mut gone = Client::connect(broker.addr());
        gone.send(&join_request("", 1), 3);
        drop(gone);
        // The heartbeat says that there is a rebalance; the member joins again, and all get their answer.
        let beat = HeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id(first.generation_id)
            .with_member_id(first.member_id.clone());
        while a.call(beat.clone(), 3).error_code == 0 {
            std::thread::yield_now();
        }
        let again = a.call(join_request(&first.member_id, 30_000), 3);
        let other = b.receive::<JoinGroupRequest>(3);
        assert_eq!((again.error_code, other.error_code), (0, 0));
        assert_eq!(again.generation_id, other.generation_id);
        assert_eq!(again.leader, first.member_id);
        assert!(again.members.len() >= 2 && other.members.is_empty());
    });
}

#[test]
fn a_consumer_group_is_assigned_by_the_broker() {
    with_broker(|broker| {
        let mut client = Client::connect(broker.addr());
        create(&mut client, "t", 4, &[]);
        let join = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_member_id(text("m1"))
            .with_rebalance_timeout_ms(10_000)
            .with_subscribed_topic_names(Some(vec![topic_name("t")]))
            .with_topic_partitions(Some(Vec::new()));
        let joined = client.call(join.clone(), 1);
        assert_eq!((joined.error_code, joined.member_epoch), (0, 1));
        assert_eq!(joined.assignment.unwrap().topic_partitions[0].partitions, [0, 1, 2, 3]);
        let described = client.call(
            ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text("g"))]),
            1,
        );
        assert_eq!(described.groups[0].group_state, text("Stable"));
        assert_eq!(
            described.groups[0].members[0].assignment.topic_partitions[0].topic_name,
            topic_name("t")
        );
        let older = client.call(
            DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g"))]),
            5,
        );
        assert_eq!(older.groups[0].members.len(), 1);
        let wrong = client.call(join.clone().with_member_epoch(5), 1);
        assert_eq!(wrong.error_code, ErrorCode::FencedMemberEpoch.code());
        let regex = client.call(join.with_subscribed_topic_regex(Some(text("t.*"))), 1);
        assert_eq!(regex.error_code, ErrorCode::InvalidRegularExpression.code());
        let listed = client.call(ListGroupsRequest::default(), 5);
        assert_eq!(listed.groups[0].group_type, text("Consumer"));
    });
}

#[test]
fn a_directory_survives_and_is_held_by_one_broker() {
    let dir = TempDir::new("restart");
    block_on(async {
        let broker = Broker::start(config(Some(dir.0.clone()))).await.unwrap();
        let addr = broker.addr();
        tokio::task::block_in_place(|| {
            let mut client = Client::connect(addr);
            create(&mut client, "t", 1, &[]);
            produce_plain(&mut client, "t", &["kept"]);
        });
        let busy = Broker::start(config(Some(dir.0.clone()))).await.err().unwrap();
        assert!(matches!(busy, BrokerError::Directory(_)), "{busy}");
        let taken = Broker::start(BrokerConfig {
            listen: addr,
            ..config(None)
        })
        .await
        .err()
        .unwrap();
        assert!(
            taken.to_string().contains(&addr.to_string()) && taken.to_string().contains("--kafka"),
            "{taken}"
        );
        let started = Instant::now();
        broker.shutdown().await;
        assert!(started.elapsed() < Duration::from_secs(2));
        let broker = Broker::start(config(Some(dir.0.clone()))).await.unwrap();
        let again = broker.addr();
        tokio::task::block_in_place(|| {
            assert_eq!(values(&fetch(&mut Client::connect(again), "t", 0, true, 12)), ["kept"]);
        });
        broker.shutdown().await;
    });
}
