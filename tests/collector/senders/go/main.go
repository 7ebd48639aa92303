// Sends spans by OpenTelemetry's own exporters for Go, and, compressed by the same libraries, as the OpenTelemetry
// Collector does:
//
//	go run . HTTP_URL GRPC_URL
//
// One span by each way, of that way's name. What the receiver says of a compression that it does not read is printed.
// The exit status is 1 when a span was not taken.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/proto"
)

var failed = false

func main() {
	httpURL, grpcURL := os.Args[1], os.Args[2]
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	url := httpURL + "/v1/traces"
	bySDK(ctx, "go http", otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(url)))
	bySDK(ctx, "go http gzip", otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(url), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)))
	bySDK(ctx, "go grpc", otlptracegrpc.NewClient(otlptracegrpc.WithEndpointURL(grpcURL)))
	bySDK(ctx, "go grpc gzip", otlptracegrpc.NewClient(
		otlptracegrpc.WithEndpointURL(grpcURL), otlptracegrpc.WithCompressor("gzip")))

	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedBestCompression} {
		name := "collector http zstd " + level.String()
		status, text := byHTTP(ctx, url, "zstd", zstdOf(body(name), level))
		check(name, status == http.StatusOK, text)
	}
	status, text := byHTTP(ctx, url, "snappy", snappyOf(body("collector http snappy")))
	fmt.Printf("snappy by HTTP: %d, %s\n", status, text)

	encoding.RegisterCompressor(other{"snappy"})
	encoding.RegisterCompressor(other{"zstd"})
	connection, err := grpc.NewClient(
		strings.TrimPrefix(grpcURL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check("dial", err == nil, err)
	client := collector.NewTraceServiceClient(connection)
	_, err = client.Export(ctx, request("collector grpc gzip"), grpc.UseCompressor("gzip"))
	check("collector grpc gzip", err == nil, err)
	for _, name := range []string{"snappy", "zstd"} {
		_, err = client.Export(ctx, request("collector grpc "+name), grpc.UseCompressor(name))
		fmt.Printf("%s by gRPC: %v\n", name, err)
	}
	if failed {
		os.Exit(1)
	}
}

func check(name string, taken bool, why any) {
	if !taken {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, why)
		failed = true
	}
}

func bySDK(ctx context.Context, name string, client otlptrace.Client) {
	exporter, err := otlptrace.New(ctx, client)
	check(name, err == nil, err)
	telling := &telling{SpanExporter: exporter}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(telling))
	_, span := provider.Tracer("senders").Start(ctx, name)
	span.End()
	check(name, telling.told && telling.err == nil, telling.err)
	err = provider.Shutdown(ctx)
	check(name, err == nil, err)
}

// telling keeps what an exporter says of an export, which a processor only logs.
type telling struct {
	sdktrace.SpanExporter
	told bool
	err  error
}

func (t *telling) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	t.told, t.err = true, t.SpanExporter.ExportSpans(ctx, spans)
	return t.err
}

func request(name string) *collector.ExportTraceServiceRequest {
	now := uint64(time.Now().UnixNano())
	id := []byte(fmt.Sprintf("%-16.16s", name[len("collector "):]))
	span := &trace.Span{TraceId: id, SpanId: id[:8], Name: name, StartTimeUnixNano: now, EndTimeUnixNano: now}
	scope := &trace.ScopeSpans{Spans: []*trace.Span{span}}
	return &collector.ExportTraceServiceRequest{
		ResourceSpans: []*trace.ResourceSpans{{ScopeSpans: []*trace.ScopeSpans{scope}}}}
}

func body(name string) []byte {
	data, err := proto.Marshal(request(name))
	check(name, err == nil, err)
	return data
}

func zstdOf(data []byte, level zstd.EncoderLevel) []byte {
	var folded bytes.Buffer
	writer, err := zstd.NewWriter(&folded, zstd.WithEncoderLevel(level))
	check("zstd", err == nil, err)
	_, err = writer.Write(data)
	check("zstd", err == nil && writer.Close() == nil, err)
	return folded.Bytes()
}

func snappyOf(data []byte) []byte {
	return snappy.Encode(nil, data)
}

func byHTTP(ctx context.Context, url, encoding string, data []byte) (int, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	check(encoding, err == nil, err)
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", encoding)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header.Get("Accept-Encoding") + string(text)
}

// other names a compression, and compresses nothing: it is refused by its name.
type other struct{ name string }

func (o other) Name() string                               { return o.name }
func (other) Compress(w io.Writer) (io.WriteCloser, error) { return writer{w}, nil }
func (other) Decompress(r io.Reader) (io.Reader, error)    { return r, nil }

type writer struct{ io.Writer }

func (writer) Close() error { return nil }
