package remotewrite

import (
	"fmt"

	"github.com/prometheus/prometheus/util/compression"
)

// Encoder builds remote write requests. What an endpoint holds after them is
// what it would hold after those of upstream's queue, which sends a time series
// with all labels for each item. Buffers are reused, so an Encoder is used by
// one goroutine.
type Encoder struct {
	typeAndUnitLabels bool

	v1      messageV1
	v2      messageV2
	message []byte
	compr   compression.EncodeBuffer

	// peak is the size of the largest message for which there are buffers, small
	// how many messages in a row have needed a fraction of it.
	peak, small int
}

// NewEncoder returns an encoder. With typeAndUnitLabels, the type and unit of a
// series are in its labels and not in its metadata (upstream's feature
// type-and-unit-labels).
func NewEncoder(typeAndUnitLabels bool) *Encoder {
	return &Encoder{
		typeAndUnitLabels: typeAndUnitLabels,
		v2:                newMessageV2(),
		compr:             compression.NewSyncEncodeBuffer(),
	}
}

// Encode returns the compressed request for items, which Group has ordered: 2.0
// if v2, else 1.0. Items of one series that follow each other share a time
// series. Without items it is a request that writes nothing. It is valid until
// the next call.
func (e *Encoder) Encode(v2 bool, items []Item) ([]byte, error) {
	var err error
	if v2 {
		e.message, err = e.v2.marshal(e.message, items, e.typeAndUnitLabels)
	} else {
		e.message, err = e.v1.marshal(e.message, items)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot encode a write request: %w", err)
	}
	size := len(e.message)
	if size == 0 {
		// An empty message has no bytes, and upstream's compression leaves those
		// alone. What snappy makes of them is their number.
		return []byte{0}, nil
	}
	body, err := compression.Encode(compression.Snappy, e.message, e.compr)
	if err != nil {
		return nil, fmt.Errorf("cannot compress a write request: %w", err)
	}
	e.trim(size)
	return body, nil
}

// patience is after how many small messages the buffers of a large one are
// given back.
const patience = 16

func (e *Encoder) trim(size int) {
	if size > e.peak/4 {
		e.peak, e.small = max(e.peak, size), 0
		return
	}
	if e.small++; e.small >= patience {
		*e = *NewEncoder(e.typeAndUnitLabels)
	}
}
