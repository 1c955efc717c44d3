package services

import (
	"bytes"
	"compress/gzip"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/watch"
)

// appendEvent appends a frame of a watch: an event of an object, with a resource version.
func appendEvent(to []byte, kind watch.EventType, o *object, version uint64) []byte {
	to = append(append(append(to, `{"type":"`...), kind...), `","object":`...)
	to = append(to, o.json[:o.digits]...)
	to = strconv.AppendUint(to, version, 10)
	return append(append(to, o.json[o.rest:]...), "}\n"...)
}

// appendBookmark appends a frame that tells a client the version that it has reached. end says that the client now has
// all objects that there were at the start.
func appendBookmark(to []byte, k kind, version uint64, end bool) []byte {
	to = append(append(to, `{"type":"BOOKMARK","object":{"kind":"`...), k.name...)
	to = append(append(to, `","apiVersion":"`...), k.apiVersion...)
	to = append(to, `","metadata":{"resourceVersion":"`...)
	to = append(strconv.AppendUint(to, version, 10), '"')
	if end {
		to = append(to, `,"annotations":{"k8s.io/initial-events-end":"true"}`...)
	}
	return append(to, "}}}\n"...)
}

// compressors holds *gzip.Writer. One has 800 KB.
var compressors = sync.Pool{New: func() any {
	writer, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // The level is valid.
	}
	return writer
}}

// compress returns a complete gzip file. Several of them make one, so streams can share them. A client has all of the
// text as soon as it has these bytes: the text is flushed before the file ends, because a reader would otherwise wait
// for what follows.
func compress(text []byte) []byte {
	var compressed bytes.Buffer
	writer := compressors.Get().(*gzip.Writer)
	defer compressors.Put(writer)
	writer.Reset(&compressed)
	// A buffer takes everything.
	_, _ = writer.Write(text)
	_ = writer.Flush()
	_ = writer.Close()
	return bytes.Clone(compressed.Bytes())
}

// sharedFrame is a compressed frame of an event.
type sharedFrame struct {
	once       sync.Once
	compressed []byte
}

func (f *sharedFrame) get(text func() []byte) []byte {
	f.once.Do(func() { f.compressed = compress(text()) })
	return f.compressed
}
