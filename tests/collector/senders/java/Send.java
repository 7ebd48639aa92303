import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.util.Collection;
import java.util.concurrent.TimeUnit;

/**
 * Sends spans by OpenTelemetry's own exporters for Java: {@code java Send.java HTTP_URL GRPC_URL}.
 *
 * <p>One span by each way, of that way's name. The exit status is 1 when one was not taken.
 */
public class Send {
  private static final String HTTP_SENDER = "io.opentelemetry.sdk.common.export.HttpSenderProvider";
  private static final String SENDERS = "io.opentelemetry.exporter.sender.%1$s.internal.%2$sHttpSenderProvider";

  private static boolean allTaken = true;

  public static void main(String[] addresses) {
    String url = addresses[0] + "/v1/traces";
    for (String compression : new String[] {"none", "gzip"}) {
      String ending = compression.equals("none") ? "" : " gzip";
      for (String[] client : new String[][] {{"okhttp", "OkHttp"}, {"jdk", "Jdk"}}) {
        System.setProperty(HTTP_SENDER, SENDERS.formatted(client[0], client[1]));
        send(
            "java " + client[0] + ending,
            OtlpHttpSpanExporter.builder().setEndpoint(url).setCompression(compression).build());
      }
      send(
          "java grpc" + ending,
          OtlpGrpcSpanExporter.builder().setEndpoint(addresses[1]).setCompression(compression).build());
    }
    System.exit(allTaken ? 0 : 1);
  }

  private static void send(String name, SpanExporter exporter) {
    SdkTracerProvider provider =
        SdkTracerProvider.builder()
            .setResource(Resource.create(Attributes.of(AttributeKey.stringKey("service.name"), "java")))
            .addSpanProcessor(SimpleSpanProcessor.create(new Telling(name, exporter)))
            .build();
    provider.get("senders").spanBuilder(name).setAttribute("messaging.kafka.offset", 7).startSpan().end();
    provider.shutdown().join(20, TimeUnit.SECONDS);
  }

  /** Waits for what an exporter says of each export: a processor only logs it. */
  private record Telling(String name, SpanExporter exporter) implements SpanExporter {
    @Override
    public CompletableResultCode export(Collection<SpanData> spans) {
      CompletableResultCode result = exporter.export(spans).join(20, TimeUnit.SECONDS);
      if (!result.isSuccess()) {
        System.err.println(name + ": " + result.getFailureThrowable());
        allTaken = false;
      }
      return result;
    }

    @Override
    public CompletableResultCode flush() {
      return exporter.flush();
    }

    @Override
    public CompletableResultCode shutdown() {
      return exporter.shutdown();
    }
  }
}
