package receive

import (
	"net/http"

	"github.com/golang/snappy"
)

// Numbers of fields in requests of remote write: series in a request, samples and histograms
// in a series (prompb/remote.proto, prompb/types.proto;
// prompb/io/prometheus/write/v2/types.proto).
var (
	fieldsV1 = fields{series: 1, samples: 2, histograms: 4}
	fieldsV2 = fields{series: 5, samples: 2, histograms: 3}
)

type fields struct{ series, samples, histograms uint32 }

// weighWrite is protocol.weigh for remote write.
func weighWrite(b *body, req *http.Request) (weight int64, samples uint64) {
	decoded, err := snappy.Decode(nil, b.bytes)
	if err != nil {
		return 0, 0 // upstream refuses it
	}
	if isV2(req) {
		return weightOfWriteV2(decoded), samplesOf(decoded, fieldsV2)
	}
	return weightOfWrite(decoded), samplesOf(decoded, fieldsV1)
}

// weighOTLP is protocol.weigh for OTLP: a data point becomes one sample, or many.
func weighOTLP(b *body, req *http.Request) (weight int64, samples uint64) {
	if req.Header.Get("Content-Type") == "application/json" {
		return weightOfOTLPJSON(b.bytes), 0
	}
	return weightOfOTLP(b.bytes), 0
}

// samplesOf counts the samples of a request, histograms as one each. Where it is malformed,
// it ends.
func samplesOf(request []byte, of fields) (n uint64) {
	for series, rest := next(request); series.ok; series, rest = next(rest) {
		if series.num != of.series {
			continue
		}
		for f, left := next(series.bytes); f.ok; f, left = next(left) {
			if f.typ == lengthDelimited && (f.num == of.samples || f.num == of.histograms) {
				n++
			}
		}
	}
	return n
}
