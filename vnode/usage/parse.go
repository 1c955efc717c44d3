package usage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// The metrics of the exporter, which have the names of cAdvisor. Source: CCI manual, "Pod resource metrics".
const (
	metricCPU        = "container_cpu_usage_seconds_total"
	metricWorkingSet = "container_memory_working_set_bytes"
	metricRSS        = "container_memory_rss"
	metricMemory     = "container_memory_usage_bytes"
)

// The exporter is in the Pod, whose containers can answer in its place. An answer is therefore read line by line, and
// nothing is kept but one number for each container and metric. A general parser needs 45 bytes for each byte of an
// answer.
const (
	// maxAnswer is the maximum size of an answer in bytes, maxLine that of a line, maxSamples the number of samples of
	// the metrics above. A Pod with ten containers has about 100 KB.
	maxAnswer  = 4 << 20
	maxLine    = 16 << 10
	maxSamples = 10_000
	// maxNumber is the maximum length of a number in bytes.
	maxNumber = 64
	// maxSeconds is the largest CPU time of a container in core-seconds: 64 cores for almost five years. Nanoseconds of
	// more do not fit into 64 bits.
	maxSeconds = 1e10
	// maxBytes is the largest memory of a container, more than 30 times the largest size of a Pod.
	maxBytes = 1 << 44
)

// containerLabels are the labels that may contain the name of the container. The manual does not document the label.
// cAdvisor uses the first one today and used the second one in the past.
var containerLabels = []string{"container", "container_name"}

// series are the sums of one metric.
type series struct {
	// most is the largest value.
	most float64
	// named are the sums of the containers of the Pod, unnamed that of the samples without a container.
	named   map[string]float64
	unnamed float64
	found   bool
}

// answer holds what is used of an exporter's answer, by the name of the metric.
type answer map[string]*series

// parse reads an answer in the text format of Prometheus, without the quoted names of its newest version. Lines of
// other metrics are not checked.
func parse(body io.Reader, target Target) (answer, error) {
	found := answer{
		metricCPU: {most: maxSeconds}, metricWorkingSet: {most: maxBytes},
		metricRSS: {most: maxBytes}, metricMemory: {most: maxBytes},
	}
	reader := bufio.NewReaderSize(io.LimitReader(body, maxAnswer+1), maxLine)
	size, samples := 0, 0
	for {
		line, err := reader.ReadSlice('\n')
		size += len(line)
		if size > maxAnswer {
			return nil, fmt.Errorf("the answer has more than %d MiB", maxAnswer>>20)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("a line has more than %d KiB", maxLine>>10)
		}
		if s, rest := found.seriesOf(line); s != nil {
			if samples++; samples > maxSamples {
				return nil, fmt.Errorf("the answer has more than %d samples of the metrics of containers", maxSamples)
			}
			if err := s.add(rest, target); err != nil {
				return nil, fmt.Errorf("line %.100q: %w", line, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// seriesOf returns the series to which a line belongs, and the rest of the line after the name. It returns nil if the
// line is of no use.
func (a answer) seriesOf(line []byte) (s *series, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	end := bytes.IndexAny(line, "{ \t")
	if end < 0 {
		return nil, nil
	}
	return a[string(line[:end])], line[end:]
}

// add adds a sample. There can be one for each core. Values that are no usage are left out.
func (s *series) add(rest []byte, target Target) error {
	name, rest, err := containerOf(bytes.TrimLeft(rest, " \t"))
	if err != nil {
		return err
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 || len(fields) > 2 {
		return errors.New("must have a value, and a time or nothing after it")
	}
	value, err := strconv.ParseFloat(string(fields[0][:min(len(fields[0]), maxNumber)]), 64)
	if len(fields[0]) > maxNumber || (err != nil && !errors.Is(err, strconv.ErrRange)) {
		return fmt.Errorf("invalid value %.40q: must be a number", fields[0])
	}
	if !(value >= 0 && value <= s.most) { // NaN is not.
		return nil
	}
	if _, ours := target.Containers[name]; ours {
		if s.named == nil {
			s.named = map[string]float64{}
		}
		s.named[name] += value
	} else if name == "" {
		s.unnamed, s.found = s.unnamed+value, true
	}
	return nil
}

// containerOf returns the name of the container in the labels, and the text after the labels.
func containerOf(text []byte) (name string, rest []byte, err error) {
	if len(text) == 0 || text[0] != '{' {
		return "", text, nil
	}
	best := len(containerLabels)
	for text = text[1:]; ; {
		text = bytes.TrimLeft(text, " \t,")
		if len(text) > 0 && text[0] == '}' {
			return name, text[1:], nil
		}
		label, after, ok := bytes.Cut(text, []byte("="))
		if !ok {
			return "", nil, errors.New("the labels have no end")
		}
		value, next, err := unquote(bytes.TrimLeft(after, " \t"))
		if err != nil {
			return "", nil, err
		}
		text = next
		// The first label of the list takes precedence, whatever its place in the line.
		if i := slices.Index(containerLabels, string(bytes.TrimSpace(label))); i >= 0 && i < best {
			best, name = i, string(value)
		}
	}
}

// unquote returns the value of a label, and the text after it.
func unquote(text []byte) (value, rest []byte, err error) {
	if len(text) == 0 || text[0] != '"' {
		return nil, nil, errors.New("a label has no value in quotes")
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return value, text[i+1:], nil
		case '\\':
			if i++; i == len(text) {
				return nil, nil, errors.New("a value in quotes has no end")
			}
			if text[i] == 'n' {
				value = append(value, '\n')
				continue
			}
		}
		value = append(value, text[i])
	}
	return nil, nil, errors.New("a value in quotes has no end")
}

// byContainer returns the values of a metric. If no sample has the name of a container, and the Pod has only one
// container, all samples belong to that container.
func (s *series) byContainer(target Target) map[string]float64 {
	values := map[string]float64{}
	for name, sum := range s.named {
		if sum <= s.most {
			values[name] = sum
		}
	}
	if len(s.named) == 0 && s.found && s.unnamed <= s.most && len(target.Containers) == 1 {
		for name := range target.Containers {
			values[name] = s.unnamed
		}
	}
	return values
}
