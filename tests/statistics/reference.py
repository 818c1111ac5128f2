"""Makes reference.json anew, by SciPy 1.17.1 and statsmodels 0.15.0: python reference.py > reference.json

Numbers are written so that they are read back exactly.
"""

import json
import sys

import numpy
from scipy import stats
from statsmodels.stats.multitest import multipletests

random = numpy.random.default_rng(1)


def mean(values):
    values = numpy.asarray(values)
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return [values.mean(), low, high]


def ratio(ours, theirs):
    logarithms = numpy.log(ours) - numpy.log(theirs)
    test = stats.permutation_test((logarithms,), numpy.sum, permutation_type="samples", n_resamples=numpy.inf)
    return [*numpy.exp(mean(logarithms)), test.pvalue]


def independent(base, other):
    test = stats.ttest_ind(numpy.log(other), numpy.log(base), equal_var=False)
    low, high = test.confidence_interval(0.95)
    difference = numpy.log(other).mean() - numpy.log(base).mean()
    return [*numpy.exp([difference, low, high]), test.pvalue]


def dyadic(values):
    """Effective samples as the text of the method has it, not as the program does it."""
    values = numpy.asarray(values)
    time, variance, length = 1.0, values.var(ddof=1), 1
    while len(values) // length >= 8:
        means = values[: len(values) // length * length].reshape(-1, length).mean(axis=1)
        estimate = length * means.var(ddof=1) / variance
        time = max(1.0, estimate)
        if estimate <= 0.2 * length:
            break
        length *= 2
    return len(values) / time


def correlated(count, share):
    values = numpy.empty(count)
    values[0] = random.normal()
    for index in range(1, count):
        values[index] = share * values[index - 1] + random.normal()
    return numpy.round(1e6 * (20 + values)).astype(int)


def main():
    reference = {"mean": [], "ratio": [], "holm": [], "effective": [], "independent": []}
    for count in [2, 3, 5, 10, 20, 100]:
        values = random.lognormal(0, 0.5, count)
        reference["mean"].append({"values": list(values), "interval": mean(values)})
    for count in [2, 3, 6, 10, 13]:
        for difference in [0, 0.003, 0.05]:
            theirs = random.lognormal(1, 0.02, count)
            ours = theirs * random.lognormal(difference, 0.02, count)
            reference["ratio"].append({"ours": list(ours), "theirs": list(theirs), "ratio": ratio(ours, theirs)})
    for count in [1, 2, 5, 12, 30]:
        p = random.uniform(0, 0.2, count)
        reference["holm"].append({"p": list(p), "corrected": list(multipletests(p, method="holm")[1])})
    for count, share in [(50, 0), (1000, 0), (1000, 0.5), (4096, 0.95), (1000, -0.5)]:
        values = correlated(count, share)
        reference["effective"].append({"values": values.tolist(), "effective": dyadic(values)})
    for count, other_count in [(2, 3), (6, 6), (10, 7), (30, 10)]:
        for difference in [0, 0.05]:
            base = random.lognormal(1, 0.02, count)
            other = random.lognormal(1 + difference, 0.04, other_count)
            case = {"base": list(base), "other": list(other), "ratio": independent(base, other)}
            reference["independent"].append(case)
    json.dump(reference, sys.stdout, default=float)
    print()


if __name__ == "__main__":
    main()
