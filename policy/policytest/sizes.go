package policytest

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// soldSizes is the table of CCI 2.0 as the manual prints it (CCI manual cci_03_1007, cci_01_0058): vCPU, then GiB.
const soldSizes = `
0.25 | 0.5, 1, 2
0.5  | 0.5, 1, 2, 3, 4
1    | 1..8 step 1
2    | 2..16 step 1
4    | 4..32 step 1
8    | 8..64 step 4
16   | 16..128 step 8
32   | 32, 64, 128, 256
48   | 96, 192, 384
64   | 128, 256, 512
`

// Size is the vCPU of a row and one of its GiB.
type Size struct{ VCPU, GiB float64 }

// Sizes returns every size that CCI 2.0 sells, read from the manual's table. It is independent of the table in
// policy/size.
func Sizes(t testing.TB) []Size {
	t.Helper()
	number := func(text string) float64 {
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		require.NoError(t, err)
		return n
	}
	var list []Size
	for row := range strings.Lines(strings.TrimSpace(soldSizes)) {
		cpu, memory, ok := strings.Cut(row, "|")
		require.True(t, ok)
		if span, step, ok := strings.Cut(memory, "step"); ok {
			low, high, ok := strings.Cut(span, "..")
			require.True(t, ok)
			for gib := number(low); gib <= number(high); gib += number(step) {
				list = append(list, Size{number(cpu), gib})
			}
			continue
		}
		for gib := range strings.SplitSeq(memory, ",") {
			list = append(list, Size{number(cpu), number(gib)})
		}
	}
	return list
}
