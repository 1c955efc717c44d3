package prices_test

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

const (
	general = sizes.GeneralComputing
	lite    = sizes.GeneralComputingLite
)

func table(t *testing.T, config prices.Config) *prices.Table {
	t.Helper()
	found, err := prices.New(config)
	require.NoError(t, err)
	require.NotNil(t, found)
	return found
}

func TestWhatASizeCosts(t *testing.T) {
	both := prices.Config{
		Currency: "CNY", GeneralComputing: prices.Rates{CoreHour: "0.3", GiBHour: "0.1"},
		GeneralComputingLite: prices.Rates{CoreHour: "0.2", GiBHour: "0"},
	}
	medium, largest := sizes.Flavor{MilliCPU: 2000, MilliGiB: 4000}, sizes.Flavor{MilliCPU: 64000, MilliGiB: 512000}
	small := sizes.Flavor{MilliCPU: 250, MilliGiB: 500}
	one := both
	one.GeneralComputingLite = prices.Rates{}
	for name, test := range map[string]struct {
		config     prices.Config
		family     sizes.Family
		size       sizes.Flavor
		lasted     time.Duration
		hour, cost string
	}{
		"an hour":                      {both, general, medium, time.Hour, "1.000000", "1.000000"},
		"a quarter of a core":          {both, general, small, time.Hour, "0.125000", "0.125000"},
		"the other family":             {both, lite, medium, time.Hour, "0.400000", "0.400000"},
		"a family without a price":     {one, lite, medium, time.Hour, "1.000000", "1.000000"},
		"a second":                     {both, general, medium, time.Second, "1.000000", "0.000278"},
		"a second that has begun":      {both, general, medium, time.Millisecond, "1.000000", "0.000278"},
		"no time":                      {both, general, medium, 0, "1.000000", "0.000000"},
		"an end before the start":      {both, general, medium, -time.Hour, "1.000000", "0.000000"},
		"longer than any time":         {both, general, small, math.MaxInt64, "0.125000", "320255.973507"},
		"no size":                      {both, general, sizes.Flavor{}, time.Hour, "0.000000", "0.000000"},
		"the largest size, for a year": {both, general, largest, 8760 * time.Hour, "70.400000", "616704.000000"},
	} {
		t.Run(name, func(t *testing.T) {
			found := table(t, test.config)
			assert.Equal(t, "CNY", found.Currency())
			assert.Equal(t, test.hour, prices.Exact(found.Hour(test.family, test.size)))
			assert.Equal(t, test.cost, prices.Exact(found.Cost(test.family, test.size, test.lasted)))
		})
	}
}

func TestAMonthHas730Hours(t *testing.T) {
	assert.Equal(t, "73.000000", prices.Exact(prices.Month(big.NewRat(1, 10))))
}

// TestCostsAreThoseOfTheOracle compares with long division on whole numbers of billionths.
func TestCostsAreThoseOfTheOracle(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	price := func() string { return fmt.Sprintf("%d.%09d", random.IntN(1000), random.IntN(1e9)) }
	for range 2000 {
		rates := prices.Rates{CoreHour: price(), GiBHour: price()}
		found := table(t, prices.Config{Currency: "CNY", GeneralComputing: rates})
		size := sizes.Flavor{MilliCPU: random.Int64N(64001), MilliGiB: random.Int64N(512001)}
		seconds := random.Int64N(400 * 24 * 3600)
		got := prices.Exact(found.Cost(general, size, time.Duration(seconds)*time.Second))
		require.Equal(t, oracle(t, rates, size, seconds), got, "%v %v %d", rates, size, seconds)
	}
}

// oracle multiplies without a point and divides once: a billionth of a unit, a thousandth of a vCPU, a second of an
// hour. It rounds half up to a millionth.
func oracle(t *testing.T, rates prices.Rates, size sizes.Flavor, seconds int64) string {
	t.Helper()
	billionths := func(text string) *big.Int {
		n, ok := new(big.Int).SetString(strings.ReplaceAll(text, ".", ""), 10)
		require.True(t, ok)
		return n
	}
	sum := new(big.Int).Mul(billionths(rates.CoreHour), big.NewInt(size.MilliCPU))
	sum.Add(sum, new(big.Int).Mul(billionths(rates.GiBHour), big.NewInt(size.MilliGiB)))
	sum.Mul(sum, big.NewInt(seconds))
	divisor := big.NewInt(1000 * 1000 * 3600)  // To millionths: 10^9 * 1000 * 3600 / 10^6.
	sum.Add(sum, new(big.Int).Rsh(divisor, 1)) // Half up.
	millionths := strings.Repeat("0", 7) + sum.Quo(sum, divisor).String()
	whole := strings.TrimLeft(millionths[:len(millionths)-6], "0")
	if whole == "" {
		whole = "0"
	}
	return whole + "." + millionths[len(millionths)-6:]
}

func TestWithoutPricesThereIsNoTable(t *testing.T) {
	found, err := prices.New(prices.Config{})
	require.NoError(t, err)
	assert.Nil(t, found)
}

func TestInvalidPricesAreRefused(t *testing.T) {
	rates := prices.Rates{CoreHour: "0.3", GiBHour: "0.1"}
	for name, test := range map[string]struct {
		config prices.Config
		want   []string
	}{
		"no currency": {
			prices.Config{GeneralComputing: rates}, []string{`prices.currency: Invalid value: ""`, "such as CNY"},
		},
		"a sign": {
			prices.Config{Currency: "¥", GeneralComputing: rates}, []string{`prices.currency: Invalid value: "¥"`},
		},
		"no prices": {prices.Config{Currency: "CNY"}, []string{
			`prices.generalComputing.coreHour: Invalid value: ""`, `prices.generalComputing.gibHour: Invalid value: ""`,
		}},
		"memory without a price": {
			prices.Config{Currency: "CNY", GeneralComputing: rates, GeneralComputingLite: prices.Rates{CoreHour: "1"}},
			[]string{`prices.generalComputingLite.gibHour: Invalid value: ""`, `such as "0.21"`},
		},
		"a comma": {
			prices.Config{Currency: "CNY", GeneralComputing: prices.Rates{CoreHour: "0,3", GiBHour: "1"}},
			[]string{`prices.generalComputing.coreHour: Invalid value: "0,3"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := prices.New(test.config)
			for _, want := range test.want {
				assert.ErrorContains(t, err, want)
			}
			assert.Len(t, test.config.Validate(field.NewPath("prices")), strings.Count(err.Error(), "Invalid value"))
		})
	}
	for _, text := range []string{
		"-1", "+1", "1e3", "1/3", "60m", ".5", "5.", "1234567890", "0.1234567890", " 1", "NaN", "0x1",
	} {
		rates := prices.Rates{CoreHour: text, GiBHour: "1"}
		_, err := prices.New(prices.Config{Currency: "CNY", GeneralComputing: rates})
		assert.ErrorContains(t, err, "must be a decimal", text)
	}
}
