"""For scripts: a provider of opentelemetry-python that sends to the receiver as soon as a span ends."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

PROVIDER = TracerProvider(resource=Resource.create({"service.name": "server"}))
PROVIDER.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
# Not made the global one: that a span's own provider is used must not depend on it.
TRACER = PROVIDER.get_tracer("server")
