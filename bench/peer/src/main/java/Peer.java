import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.avro.Schema;
import org.apache.avro.SchemaBuilder;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The ratings job in Kafka Streams, exactly-once: the peer of `bench/run.py`.
 *
 * <p>{@code Peer BOOTSTRAP SUFFIX RECORDS APPLICATION_ID STATE_DIR COMMIT_MS}: reads {@code movies<suffix>} and {@code ratings<suffix>}, keeps count and sum
 * a movie, writes the joined averages to {@code peer-rated<suffix>}, stops after RECORDS ratings and prints one line of JSON. RECORDS 0: only
 * restores the state of an earlier run whose directory was deleted. INSTANCE and SESSION_MS in the environment: a static member with that session time-out.
 * STAY=1: it goes on after its line, until it is killed.
 */
public final class Peer {
  static final Schema MOVIE = SchemaBuilder.record("Movie").fields().requiredLong("movie_id").requiredString("title")
      .requiredInt("release_year").requiredString("country").endRecord();
  static final Schema RATING = SchemaBuilder.record("Rating").fields().requiredLong("movie_id").requiredDouble("rating")
      .requiredLong("user_id").endRecord();
  static final Schema COUNT_AND_SUM =
      SchemaBuilder.record("CountAndSum").fields().requiredLong("count").requiredDouble("sum").endRecord();
  static final Schema RATED = SchemaBuilder.record("RatedMovie").fields().requiredLong("movie_id").requiredString("title")
      .requiredInt("release_year").requiredDouble("rating").endRecord();

  /** Confluent's wire format with a fixed id: the peer pays for no registry look-ups. */
  static Serde<GenericRecord> avro(Schema schema, int id) {
    GenericDatumReader<GenericRecord> reader = new GenericDatumReader<>(schema);
    return Serdes.serdeFrom((topic, value) -> {
      if (value == null) return null;
      try {
        ByteArrayOutputStream out = new ByteArrayOutputStream(64);
        out.write(new byte[] {0, 0, 0, 0, (byte) id});
        BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(out, null);
        new GenericDatumWriter<GenericRecord>(schema).write(value, encoder);
        encoder.flush();
        return out.toByteArray();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }, (topic, bytes) -> {
      if (bytes == null) return null;
      try {
        return reader.read(null, DecoderFactory.get().binaryDecoder(bytes, 5, bytes.length - 5, null));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    });
  }

  static GenericRecord record(Schema schema, Object... values) {
    GenericRecord record = new GenericData.Record(schema);
    for (int i = 0; i < values.length; i++) record.put(i, values[i]);
    return record;
  }

  public static void main(String[] args) throws Exception {
    String suffix = args[1];
    long total = Long.parseLong(args[2]);
    Properties settings = new Properties();
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
    settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, args[5]);
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
    settings.put("auto.offset.reset", "earliest");
    if (System.getenv("INSTANCE") != null) settings.put("group.instance.id", System.getenv("INSTANCE"));
    if (System.getenv("SESSION_MS") != null) settings.put("session.timeout.ms", System.getenv("SESSION_MS"));

    AtomicLong seen = new AtomicLong();
    StreamsBuilder builder = new StreamsBuilder();
    Serde<Long> key = Serdes.Long();
    KTable<Long, GenericRecord> movies =
        builder.table("movies" + suffix, Consumed.with(key, avro(MOVIE, 1)), Materialized.as("movies"));
    builder.stream("ratings" + suffix, Consumed.with(key, avro(RATING, 2)))
        .peek((k, v) -> seen.incrementAndGet())
        .groupByKey(Grouped.with(key, avro(RATING, 2)))
        .aggregate(() -> record(COUNT_AND_SUM, 0L, 0.0),
            (k, rating, sum) -> record(COUNT_AND_SUM, (Long) sum.get(0) + 1, (Double) sum.get(1) + (Double) rating.get(1)),
            Materialized.<Long, GenericRecord, KeyValueStore<Bytes, byte[]>>as("stats").withKeySerde(key)
                .withValueSerde(avro(COUNT_AND_SUM, 3)))
        .mapValues(sum -> (Double) sum.get(1) / (Long) sum.get(0))
        .join(movies, (average, movie) -> record(RATED, movie.get(0), movie.get(1), movie.get(2), average))
        .toStream().to("peer-rated" + suffix, Produced.with(key, avro(RATED, 4)));

    AtomicLong restored = new AtomicLong();
    AtomicLong restoreStart = new AtomicLong();
    AtomicLong restoreEnd = new AtomicLong();
    KafkaStreams streams = new KafkaStreams(builder.build(), settings);
    streams.setGlobalStateRestoreListener(new StateRestoreListener() {
      @Override public void onRestoreStart(TopicPartition tp, String store, long from, long to) {
        restoreStart.compareAndSet(0, System.nanoTime());
      }

      @Override public void onBatchRestored(TopicPartition tp, String store, long end, long records) {
        restored.addAndGet(records);
      }

      @Override public void onRestoreEnd(TopicPartition tp, String store, long records) {
        restoreEnd.set(System.nanoTime());
      }
    });
    if (System.getenv("STAY") != null) Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
    streams.start();
    long first = 0;
    while (true) {
      Thread.sleep(10);
      if (first == 0 && seen.get() > 0) first = System.nanoTime();
      if (total > 0 && seen.get() >= total) break;
      if (total == 0 && streams.state() == KafkaStreams.State.RUNNING && restoreEnd.get() != 0) break;
    }
    double wall = (System.nanoTime() - first) / 1e9;
    long sinceStart = System.currentTimeMillis() - java.lang.management.ManagementFactory.getRuntimeMXBean().getStartTime();
    Thread.sleep(Long.parseLong(args[5]) * 2); // the last commit belongs to the work
    var os = (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();
    long peakKb = Files.readAllLines(Path.of("/proc/self/status")).stream().filter(l -> l.startsWith("VmHWM"))
        .mapToLong(l -> Long.parseLong(l.replaceAll("\\D", ""))).findFirst().orElse(0);
    System.out.printf("{\"records\":%d,\"wall_s\":%.3f,\"cpu_s\":%.3f,\"restored\":%d,\"restore_s\":%.3f,\"peak_kb\":%d,\"since_start_s\":%.3f}%n", seen.get(),
        first == 0 ? 0 : wall, os.getProcessCpuTime() / 1e9, restored.get(), (restoreEnd.get() - restoreStart.get()) / 1e9, peakKb, sinceStart / 1e3);
    System.out.flush();
    if (System.getenv("STAY") != null) Thread.sleep(Long.MAX_VALUE);
    streams.close(Duration.ofSeconds(20));
  }
}
