"""Algorithm 1 as the paper states it (corrected): one layer, one tolerance at a time, by HiGHS."""

import numpy as np
from scipy.optimize import linprog


def layer(w, b, x, eps0, growth, hidden, slope=0.0):
    """The first eps of the grid at which min delta, delta <= eps, is feasible, and its z."""
    n, k = w.shape
    eps = eps0
    while True:
        rows, right = [], []
        for j in range(n):
            sides = []
            if x[j] > eps:
                sides = [(-w[j], -x[j] + b[j]), (w[j], x[j] - b[j])]
            elif slope and x[j] < -eps:
                c = slope
                sides = [(-c * w[j], -x[j] + c * b[j]), (c * w[j], x[j] - c * b[j])]
            elif slope:
                c = slope
                sides = [(-c * w[j], -x[j] + c * b[j]), (w[j], x[j] - b[j])]
            else:
                sides = [(w[j], x[j] - b[j])]
            for row, value in sides:
                rows.append([*row, -1.0])
                right.append(value)
        bounds = [(0.0 if hidden else None, None)] * k + [(0.0, eps)]
        cost = np.zeros(k + 1)
        cost[k] = 1.0
        answer = linprog(cost, A_ub=np.array(rows), b_ub=np.array(right), bounds=bounds)
        if answer.status == 0:
            return eps, answer.x[:k]
        eps *= growth
