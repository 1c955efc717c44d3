// Package prices says what the cloud costs by a list of prices: a size for an hour, and a Pod from its start to its
// end. It is pure and exact: amounts are fractions, which are rounded only when they are written. It does not know the
// bill of the vendor, with its discounts and packages, and prices CPU and memory only.
package prices

import (
	"math/big"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

// HoursOfMonth is how many hours a month has: a twelfth of a year of 365 days.
const HoursOfMonth = 730

// Digits is how many decimals an amount has that programs read. The bill has fewer.
const Digits = 6

// Config is a list of prices. The zero value means that there is none.
type Config struct {
	// Currency is the currency of the prices: its code of ISO 4217, such as CNY. Default empty: there are no prices.
	Currency string `json:"currency"`
	// GeneralComputing is the price of Pods of the type general-computing, the one of Pods that request no type.
	// Required with a currency.
	GeneralComputing Rates `json:"generalComputing"`
	// GeneralComputingLite is the price of Pods of the type general-computing-lite. Default that of GeneralComputing.
	GeneralComputingLite Rates `json:"generalComputingLite"`
}

// Rates are the prices of one type of Pods. They are text because decimals such as 0.1 are not exact as numbers.
type Rates struct {
	// CoreHour is the price of one vCPU for an hour: digits, and at most nine decimals after a point, such as "0.21".
	CoreHour string `json:"coreHour"`
	// GiBHour is the price of one GiB of memory for an hour.
	GiBHour string `json:"gibHour"`
}

var (
	currencyPattern = regexp.MustCompile(`^[A-Z]{3}$`)
	decimalPattern  = regexp.MustCompile(`^[0-9]{1,9}([.][0-9]{1,9})?$`)
)

// Validate returns every error at once.
func (c Config) Validate(path *field.Path) field.ErrorList {
	if c == (Config{}) {
		return nil
	}
	var errs field.ErrorList
	if !currencyPattern.MatchString(c.Currency) {
		errs = append(errs, field.Invalid(path.Child("currency"), c.Currency,
			"must be the code of the currency of the prices: three capital letters (ISO 4217), such as CNY"))
	}
	errs = append(errs, c.GeneralComputing.validate(path.Child("generalComputing"))...)
	if c.GeneralComputingLite != (Rates{}) {
		errs = append(errs, c.GeneralComputingLite.validate(path.Child("generalComputingLite"))...)
	}
	return errs
}

func (r Rates) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, price := range []struct{ name, value string }{{"coreHour", r.CoreHour}, {"gibHour", r.GiBHour}} {
		if !decimalPattern.MatchString(price.value) {
			errs = append(errs, field.Invalid(path.Child(price.name), price.value,
				`must be a decimal in quotes with at most nine decimals, such as "0.21"`))
		}
	}
	return errs
}

// Table is a list of prices that is valid.
type Table struct {
	currency      string
	general, lite rates
}

// rates are the prices for an hour of a vCPU and a GiB.
type rates struct{ core, gib *big.Rat }

// New returns the table of a configuration, nil if there are no prices.
func New(config Config) (*Table, error) {
	if err := config.Validate(field.NewPath("prices")).ToAggregate(); err != nil {
		return nil, err
	}
	if config == (Config{}) {
		return nil, nil
	}
	t := &Table{currency: config.Currency, general: parse(config.GeneralComputing)}
	t.lite = t.general
	if config.GeneralComputingLite != (Rates{}) {
		t.lite = parse(config.GeneralComputingLite)
	}
	return t, nil
}

// parse parses valid rates.
func parse(r Rates) rates {
	decimal := func(text string) *big.Rat {
		value, _ := new(big.Rat).SetString(text)
		return value
	}
	return rates{decimal(r.CoreHour), decimal(r.GiBHour)}
}

// Currency returns the currency of all amounts, such as CNY.
func (t *Table) Currency() string { return t.currency }

// Hour returns what a size costs for an hour. Source: CCI billing, cci_06_1006: the sum of the prices of the vCPUs and
// of the memory.
func (t *Table) Hour(family sizes.Family, size sizes.Flavor) *big.Rat {
	of := t.general
	if family == sizes.GeneralComputingLite {
		of = t.lite
	}
	cpu := new(big.Rat).Mul(of.core, big.NewRat(size.MilliCPU, 1000))
	memory := new(big.Rat).Mul(of.gib, big.NewRat(size.MilliGiB, 1000))
	return cpu.Add(cpu, memory)
}

// Cost returns what a size costs for a time. The cloud bills by the second (CCI 1.0, cci_03_0009); a second that has
// begun counts.
func (t *Table) Cost(family sizes.Family, size sizes.Flavor, lasted time.Duration) *big.Rat {
	lasted = max(lasted, 0)
	seconds := int64(lasted / time.Second)
	if lasted%time.Second > 0 {
		seconds++
	}
	return new(big.Rat).Mul(t.Hour(family, size), big.NewRat(seconds, 3600))
}

// Month returns what costs that much for an hour costs for a month.
func Month(hour *big.Rat) *big.Rat { return new(big.Rat).Mul(hour, big.NewRat(HoursOfMonth, 1)) }

// Exact writes an amount for programs, such as 0.135000.
func Exact(amount *big.Rat) string { return amount.FloatString(Digits) }
