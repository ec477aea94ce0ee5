package receive

import (
	"bytes"
	"encoding/json"
	"math"
)

// shape is what a field of a protobuf message becomes in upstream's memory.
type shape struct {
	cost   float64  // bytes for each, beyond those of the wire
	fields []*shape // by number, when it is a message
	number number   // when it is a repeated number, which may be packed
	ref    bool     // its value is that of a symbol

	// series is how many series, or errors that name the series, one makes.
	series float64
	// common are the fields, as bits, of which each series in the message has a copy.
	common uint64
	// whole is for what upstream converts as a whole, one after the other.
	whole bool
	// copies of the symbols it refers to, for each of its series.
	copies float64
}

type number int

const varints, fixed64s number = 1, 2

// elem is the cost of an element in a slice: append makes it up to twice too large, and has
// the old one too meanwhile. ptr is for an element that is pointed to.
func elem(size float64) float64 { return size * 9 / 4 }
func ptr(size float64) float64  { return size*9/8 + elem(8) }

const (
	// bodies is how often the bytes of a request are in memory: decompressed, read, and as
	// the strings that are decoded, with what is lost by the allocator.
	bodies = 3.5
	// conversion is how often those of a series are while it is converted: as labels, quoted
	// and quoted again by the logger, where a byte becomes up to five.
	conversion = 20
	// answers is how often the text of an error is: alone, joined, printed and in the answer.
	answers = 5
	// shortNames are as long as a series' common names may be, in bytes, without a weight
	// for each series. Otherwise a long name and many points would take any memory.
	shortNames = 1 << 10
	// maxDepth of messages. Upstream goes on until the stack overflows, which ends the process.
	maxDepth = 128
)

// What a sample or a histogram takes in the appender until it is committed.
const pending, pendingHistogram = 32, 256

var writeShape, writeV2Shape, otlpShape = shapeOfWrite(), shapeOfWriteV2(), shapeOfOTLP()

// histogramFields are those of both versions.
func histogramFields() []*shape {
	oneof, deltas := &shape{cost: 8}, &shape{cost: 2 * elem(8), number: varints} // twice: as floats
	floats := &shape{cost: elem(8), number: fixed64s}
	span := &shape{cost: elem(40 + 8)}
	return []*shape{1: oneof, 2: oneof, 6: oneof, 7: oneof, 8: span, 9: deltas, 10: floats, 11: span, 12: deltas, 13: floats, 16: floats}
}

func shapeOfWrite() *shape {
	label := &shape{cost: elem(64)}
	series := &shape{cost: elem(128), whole: true, fields: []*shape{
		1: label,
		2: {cost: elem(48 + pending)},
		3: {cost: elem(72 + 64), fields: []*shape{1: label}},
		4: {cost: elem(272 + pendingHistogram), fields: histogramFields()},
	}}
	return &shape{fields: []*shape{1: series, 3: {cost: elem(88)}}}
}

func shapeOfWriteV2() *shape {
	const failed = 64 // an error, but for its text
	refs := &shape{cost: elem(4), number: varints, ref: true}
	ref := &shape{ref: true}
	series := &shape{cost: elem(192 + failed), whole: true, copies: answers, fields: []*shape{
		1: refs,
		2: {cost: elem(56 + pending + failed), series: 1},
		3: {cost: elem(280 + pendingHistogram + failed), series: 1, fields: histogramFields()},
		4: {cost: elem(72 + 64 + failed), series: 1, fields: []*shape{1: refs}},
		5: {fields: []*shape{3: ref, 4: ref}},
	}}
	return &shape{fields: []*shape{4: {cost: elem(16)}, 5: series}}
}

func shapeOfOTLP() *shape {
	const (
		asAny  = 400 // a list, as upstream makes JSON of it
		failed = 512 // an error, all of which are nested
	)
	value := &shape{}
	attribute := &shape{cost: elem(40), fields: []*shape{2: value}}
	scalar := &shape{cost: 24}
	value.fields = []*shape{
		1: scalar, 2: scalar, 3: scalar, 4: scalar,
		5: {cost: 32 + asAny, fields: []*shape{1: {cost: elem(16)}}},
		6: {cost: 32 + asAny, fields: []*shape{1: attribute}},
		7: scalar, 8: scalar,
	}
	value.fields[5].fields[1].fields = value.fields
	text := &shape{cost: elem(16)}
	resource := &shape{whole: true, fields: []*shape{1: attribute, 3: {cost: ptr(80), fields: []*shape{3: text, 4: text}}}}
	exemplar := &shape{cost: elem(72 + 64), fields: []*shape{3: scalar, 6: scalar, 7: attribute}}
	floats := &shape{cost: elem(8), number: fixed64s, series: 1}
	buckets := &shape{fields: []*shape{2: {cost: 2 * elem(8), number: varints}}}

	point := &shape{cost: ptr(88) + elem(pending), series: 1, whole: true, fields: []*shape{4: scalar, 5: exemplar, 6: scalar, 7: attribute}}
	histogram := &shape{cost: ptr(168) + 4*elem(pending), series: 4, common: 1 << 9, whole: true, fields: []*shape{6: floats, 7: floats, 8: exemplar, 9: attribute}}
	exponential := &shape{cost: ptr(240) + pendingHistogram, series: 1, whole: true, fields: []*shape{1: attribute, 8: buckets, 9: buckets, 11: exemplar}}
	quantile := &shape{cost: ptr(16) + elem(pending), series: 1}
	summary := &shape{cost: ptr(104) + 2*elem(pending), series: 2, common: 1 << 7, whole: true, fields: []*shape{6: quantile, 7: attribute}}

	of := func(point *shape) *shape { return &shape{cost: 48, fields: []*shape{1: point}} }
	metric := &shape{cost: ptr(88) + failed, common: 1 << 1, fields: []*shape{
		5: of(point), 7: of(point), 9: of(histogram), 10: of(exponential), 11: of(summary), 12: attribute,
	}}
	scope := &shape{cost: ptr(128) + failed, common: 1<<1 | 1<<3, fields: []*shape{
		1: {whole: true, fields: []*shape{3: attribute}}, 2: metric,
	}}
	return &shape{fields: []*shape{1: {cost: ptr(128) + failed, common: 1 << 1, fields: []*shape{1: resource, 2: scope, 1000: scope}}}}
}

// weightOfWrite returns about how many bytes upstream's handler takes for a request of remote
// write 1.0, at most: of what it decodes, and how it answers. A small one may take gigabytes.
func weightOfWrite(b []byte) int64 { return weigh(b, writeShape, &scale{}) }

// weightOfWriteV2 is for remote write 2.0.
func weightOfWriteV2(b []byte) int64 {
	s, n := &scale{}, 0
	for f, rest := next(b); f.ok; f, rest = next(rest) {
		if f.num == 4 {
			n++
		}
	}
	s.symbols = make([]uint8, 0, n)
	for f, rest := next(b); f.ok; f, rest = next(rest) {
		if f.num == 4 {
			long := quoted(f.bytes)
			s.longest = max(s.longest, long)
			s.symbols = append(s.symbols, uint8(min(long, math.MaxUint8)))
		}
	}
	return weigh(b, writeV2Shape, s)
}

// weightOfOTLP is for OTLP's metrics in protobuf.
func weightOfOTLP(b []byte) int64 { return weigh(b, otlpShape, &scale{}) }

// weightOfOTLPJSON is for OTLP's metrics in JSON. Each comma and bracket may begin a data
// point, whatever else is there: upstream's decoder goes on after what it does not understand.
func weightOfOTLPJSON(b []byte) int64 {
	const comma, empty, bracket = 400, 256, 1 << 10 // an empty metric is an error too
	brackets := bytes.Count(b, []byte("["))
	// What is valid is not nested more than so, nor does much else overflow the stack.
	if brackets > 10_000 && !json.Valid(b) {
		return math.MaxInt64
	}
	commas, empties := bytes.Count(b, []byte(",")), bytes.Count(b, []byte("{}"))
	sum := float64(len(b))*(bodies+2) + float64(commas)*comma + float64(empties)*empty + float64(brackets)*bracket
	// A long string may be a name that all points have.
	begin, longest := 0, 0
	for i, c := range b {
		if c == '"' && i > 0 && b[i-1] != '\\' {
			begin, longest = i, max(longest, i-begin)
		}
	}
	if longest > shortNames {
		sum += float64(longest) * float64(commas)
	}
	return whole(sum)
}

// scale is for one request.
type scale struct {
	symbols []uint8 // how long they are in an error, MaxUint8 being as long as the longest
	longest int
	most    float64 // that the conversion of one series takes
}

// load is of a message.
type load struct{ weight, series, text float64 }

func weigh(b []byte, s *shape, on *scale) int64 {
	l := on.message(b, s, 0)
	return whole(l.weight + on.most + bodies*float64(len(b)))
}

// whole bytes. Sums are of floats, that do not overflow.
func whole(bytes float64) int64 {
	if bytes >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(bytes)
}

func (on *scale) message(b []byte, s *shape, depth int) load {
	if depth > maxDepth {
		return load{weight: math.Inf(1)}
	}
	var sum load
	common := 0
	for f, rest := next(b); f.ok; f, rest = next(rest) {
		if f.num < 64 && s.common>>f.num&1 != 0 {
			common += len(f.bytes)
		}
		if f.num >= uint32(len(s.fields)) || s.fields[f.num] == nil {
			continue
		}
		field := s.fields[f.num]
		switch {
		case field.number != 0 && f.typ == lengthDelimited:
			// Upstream reads the last number to its end, though it be beyond the field's.
			n := 0
			for left := len(f.bytes); left > 0; n++ {
				size := 8
				var v uint64
				if field.number == varints {
					v, size = varint(f.after)
				}
				if size == 0 || size > len(f.after) {
					return on.done(sum, s, b, common) // as upstream
				}
				if field.ref {
					sum.text += on.symbol(v)
				}
				left, f.after = left-size, f.after[size:]
			}
			rest = f.after
			sum.weight += float64(n) * field.cost
			sum.series += float64(n) * field.series
			continue
		case field.ref:
			sum.text += on.symbol(f.value)
		case field.fields != nil:
			inner := on.message(f.bytes, field, depth+1)
			sum.weight, sum.series, sum.text = sum.weight+inner.weight, sum.series+inner.series, sum.text+inner.text
		}
		sum.weight += field.cost
		sum.series += field.series
	}
	return on.done(sum, s, b, common)
}

// done adds what a message takes as a whole.
func (on *scale) done(sum load, s *shape, b []byte, common int) load {
	if common > shortNames {
		sum.weight += float64(common) * (sum.series + s.series)
	}
	if s.whole {
		on.most = max(on.most, sum.weight+conversion*(float64(len(b))+sum.text))
	}
	if s.copies > 0 {
		sum.weight += s.copies * sum.text * max(1, sum.series)
		sum.series, sum.text = 0, 0
	}
	return sum
}

// symbol is how long one is in an error: as a label, or as a number.
func (on *scale) symbol(ref uint64) float64 {
	const asNumber, asLabel = 11, 3
	long := 0
	if ref = uint64(uint32(ref)); ref < uint64(len(on.symbols)) {
		if long = int(on.symbols[ref]); long == math.MaxUint8 {
			long = on.longest
		}
	}
	return float64(max(asNumber, long+asLabel))
}

// quoted is how long a string is, quoted.
func quoted(b []byte) int {
	n := len(b)
	for _, c := range b {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			n += 3
		}
	}
	return n
}

// lengthDelimited is the type of fields that are a string or a message.
const lengthDelimited = 2

// field of a message, on the wire.
type field struct {
	ok    bool
	num   uint32
	typ   uint8
	value uint64 // of a varint
	bytes []byte // of a string
	after []byte // and what follows its length
}

// next reads a field. It takes all that one of upstream's decoders takes, which stricter ones
// do not: behind such a field there could be anything, unseen. What is in groups counts.
func next(b []byte) (f field, rest []byte) {
	tag, n := varint(b)
	if n == 0 {
		return field{}, nil
	}
	f.num, f.typ, rest = uint32(tag>>3), uint8(tag&7), b[n:]
	size := 0
	switch f.typ {
	case 0:
		f.value, size = varint(rest)
		f.ok = size > 0
	case 1:
		size, f.ok = 8, len(rest) >= 8
	case lengthDelimited:
		f.value, n = varint(rest)
		if f.ok = n > 0 && f.value <= uint64(len(rest)-n); f.ok {
			f.after = rest[n:]
			size = n + int(f.value)
			f.bytes = rest[n:size]
		}
	case 3, 4:
		f.ok = true
	case 5:
		size, f.ok = 4, len(rest) >= 4
	}
	if !f.ok {
		return field{}, nil
	}
	return f, rest[size:]
}

// varint returns a number and how long it is, 0 when it has no end. What is above 64 bits is
// lost, as upstream loses it.
func varint(b []byte) (v uint64, n int) {
	for i := 0; i < len(b) && i < 10; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
