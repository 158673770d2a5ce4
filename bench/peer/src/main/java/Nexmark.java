import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Five of Nexmark's queries in Kafka Streams, exactly-once, commits every 100 ms: the peer of {@code bench/nexmark.py}, the same as {@code bench/nexmark/q*.sql}.
 *
 * <p>{@code Nexmark BOOTSTRAP QUERY EVENTS APPLICATION_ID STATE_DIR}: reads so many events, writes {@code peer-QUERY}, waits until nothing moves any more, and prints one
 * line of JSON with the CPU up to the last movement.
 */
public final class Nexmark {
  static final ObjectMapper JSON = new ObjectMapper();
  static final Duration WINDOW = Duration.ofSeconds(10);
  static final Duration HOUR = Duration.ofHours(1);
  /** Ours without a clause of its own, as ksqlDB's. */
  static final Duration GRACE = Duration.ofHours(24);
  /** Events read from the topics of Nexmark. */
  static final AtomicLong SEEN = new AtomicLong();
  /** Values decoded: those of repartition topics and of state, too. */
  static final AtomicLong MOVED = new AtomicLong();
  static final Serde<Long> KEY = Serdes.Long();
  static final Serde<JsonNode> VALUE = Serdes.serdeFrom((topic, value) -> {
    try {
      return value == null ? null : JSON.writeValueAsBytes(value);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }, (topic, bytes) -> {
    MOVED.incrementAndGet();
    try {
      return bytes == null ? null : JSON.readTree(bytes);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  });
  static final Map<String, Consumer<StreamsBuilder>> QUERIES =
      Map.of("q1", Nexmark::q1, "q3", Nexmark::q3, "q4", Nexmark::q4, "q8", Nexmark::q8, "q12", Nexmark::q12);

  static Consumed<Long, JsonNode> byEventTime() {
    return Consumed.with(KEY, VALUE).withTimestampExtractor((record, time) -> ((JsonNode) record.value()).get("dateTime").asLong());
  }

  static KStream<Long, JsonNode> stream(StreamsBuilder builder, String topic) {
    return builder.stream(topic, byEventTime()).peek((key, event) -> SEEN.incrementAndGet());
  }

  static KTable<Long, JsonNode> table(StreamsBuilder builder, String topic) {
    return stream(builder, topic).toTable(stored(topic + "s"));
  }

  static Materialized<Long, JsonNode, KeyValueStore<Bytes, byte[]>> stored(String name) {
    return Materialized.<Long, JsonNode, KeyValueStore<Bytes, byte[]>>as(name).withKeySerde(KEY).withValueSerde(VALUE);
  }

  static <V> Materialized<Long, V, WindowStore<Bytes, byte[]>> windowed(String name, Serde<V> value) {
    return Materialized.<Long, V, WindowStore<Bytes, byte[]>>as(name).withKeySerde(KEY).withValueSerde(value);
  }

  static void write(KStream<Long, JsonNode> rows, String query) {
    rows.to("peer-" + query, Produced.with(KEY, VALUE));
  }

  static void q1(StreamsBuilder builder) {
    write(stream(builder, "bid").mapValues(bid -> {
      ObjectNode row = JSON.createObjectNode();
      row.set("auction", bid.get("auction"));
      row.set("bidder", bid.get("bidder"));
      row.put("price", new BigDecimal("0.908").multiply(bid.get("price").decimalValue()).setScale(3, RoundingMode.HALF_UP));
      row.set("dateTime", bid.get("dateTime"));
      row.set("extra", bid.get("extra"));
      return row;
    }), "q1");
  }

  static void q3(StreamsBuilder builder) {
    Set<String> states = Set.of("OR", "ID", "CA");
    KTable<Long, JsonNode> auctions = table(builder, "auction").filter((id, auction) -> auction.get("category").asLong() == 10);
    KTable<Long, JsonNode> persons = table(builder, "person").filter((id, person) -> states.contains(person.get("state").asText()));
    KTable<Long, JsonNode> rows = auctions.join(persons, auction -> auction.get("seller").asLong(), (auction, person) -> {
      ObjectNode row = JSON.createObjectNode();
      for (String name : new String[] {"name", "city", "state"}) row.set(name, person.get(name));
      return (JsonNode) row;
    }, stored("q3"));
    write(rows.toStream(), "q3");
  }

  static void q4(StreamsBuilder builder) {
    KStream<Long, JsonNode> bids = stream(builder, "bid").selectKey((key, bid) -> bid.get("auction").asLong());
    KStream<Long, JsonNode> joined = stream(builder, "auction").join(bids, (auction, bid) -> {
      long time = bid.get("dateTime").asLong();
      if (time < auction.get("dateTime").asLong() || time > auction.get("expires").asLong()) return null;
      ObjectNode row = JSON.createObjectNode();
      row.set("category", auction.get("category"));
      row.set("price", bid.get("price"));
      return (JsonNode) row;
    }, JoinWindows.ofTimeDifferenceAndGrace(HOUR, HOUR).before(Duration.ZERO), StreamJoined.with(KEY, VALUE, VALUE));
    KTable<Long, JsonNode> highest = joined.filter((id, row) -> row != null).groupByKey(Grouped.with(KEY, VALUE))
        .reduce((old, row) -> row.get("price").asLong() > old.get("price").asLong() ? row : old, stored("highest"));
    KTable<Long, JsonNode> sums = highest.groupBy((id, row) -> KeyValue.pair(row.get("category").asLong(), row), Grouped.with(KEY, VALUE))
        .aggregate(() -> sum(0, 0), (category, row, sum) -> add(sum, 1, row), (category, row, sum) -> add(sum, -1, row), stored("sums"));
    write(sums.mapValues(sum -> {
      ObjectNode row = JSON.createObjectNode();
      return (JsonNode) row.put("final", sum.get("count").asLong() == 0 ? 0 : sum.get("sum").asLong() / sum.get("count").asLong());
    }).toStream(), "q4");
  }

  static JsonNode sum(long count, long sum) {
    return JSON.createObjectNode().put("count", count).put("sum", sum);
  }

  static JsonNode add(JsonNode sum, int sign, JsonNode row) {
    return sum(sum.get("count").asLong() + sign, sum.get("sum").asLong() + sign * row.get("price").asLong());
  }

  static void q8(StreamsBuilder builder) {
    TimeWindows windows = TimeWindows.ofSizeAndGrace(WINDOW, GRACE);
    KTable<Windowed<Long>, JsonNode> persons = stream(builder, "person").groupByKey(Grouped.with(KEY, VALUE)).windowedBy(windows)
        .reduce((old, person) -> person, windowed("newcomers", VALUE));
    KTable<Windowed<Long>, Long> sellers = stream(builder, "auction").groupBy((id, auction) -> auction.get("seller").asLong(), Grouped.with(KEY, VALUE))
        .windowedBy(windows).count(windowed("sellers", Serdes.Long()));
    write(persons.join(sellers, (person, auctions) -> person).toStream().map((window, person) -> {
      ObjectNode row = JSON.createObjectNode();
      row.set("name", person == null ? null : person.get("name"));
      return KeyValue.pair(window.key(), (JsonNode) row.put("starttime", window.window().start()));
    }), "q8");
  }

  static void q12(StreamsBuilder builder) {
    KStream<Long, JsonNode> bids = builder.stream("bid", Consumed.with(KEY, VALUE)).peek((key, event) -> SEEN.incrementAndGet());
    write(bids.groupBy((key, bid) -> bid.get("bidder").asLong(), Grouped.with(KEY, VALUE)).windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE))
        .count(windowed("counts", Serdes.Long())).toStream().map((window, count) -> KeyValue.pair(window.key(),
            (JsonNode) JSON.createObjectNode().put("bid_count", count).put("starttime", window.window().start()))), "q12");
  }

  public static void main(String[] args) throws Exception {
    long total = Long.parseLong(args[2]);
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
    settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "100");
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
    settings.put("auto.offset.reset", "earliest");
    StreamsBuilder builder = new StreamsBuilder();
    QUERIES.get(args[1]).accept(builder);
    KafkaStreams streams = new KafkaStreams(builder.build(), settings);
    streams.start();
    var os = (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();
    long moved = 0, movedAt = System.nanoTime(), cpu = 0;
    while (SEEN.get() < total || System.nanoTime() - movedAt < 3_000_000_000L) {
      Thread.sleep(100);
      if (streams.state() == KafkaStreams.State.ERROR) System.exit(1);
      if (MOVED.get() == moved) continue;
      moved = MOVED.get();
      movedAt = System.nanoTime();
      cpu = os.getProcessCpuTime();
    }
    System.out.printf("{\"records\":%d,\"cpu_s\":%.3f}%n", SEEN.get(), cpu / 1e9);
    System.out.flush();
    streams.close(Duration.ofSeconds(20));
  }
}
