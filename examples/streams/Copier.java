import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;

/**
 * A program to test: Kafka Streams copies every record of one topic to another. The argument is its processing.guarantee.
 *
 * <pre>
 * cd examples/streams && mvn -q dependency:copy-dependencies
 * harness run --nemesis kill-app,kill-leader --app 'java -cp examples/streams/target/dependency/* examples/streams/Copier.java exactly_once_v2'
 * </pre>
 */
public class Copier {
    public static void main(String[] arguments) {
        var builder = new StreamsBuilder();
        builder.stream(System.getenv("HARNESS_INPUT")).to(System.getenv("HARNESS_OUTPUT"));

        var settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("HARNESS_BOOTSTRAP"));
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("HARNESS_GROUP"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, System.getenv("HARNESS_FOLDER"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, arguments[0]);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 6000);

        var streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
