"""Torch's modules for activations, by the text that they have here."""

from __future__ import annotations

from torch import nn

ACTIVATIONS: dict[str, nn.Module] = {
    "ReLU": nn.ReLU(),
    "Tanh": nn.Tanh(),
    "ELU:0.5": nn.ELU(0.5),
    "LeakyReLU:0.2": nn.LeakyReLU(0.2),
    "Sigmoid": nn.Sigmoid(),
    "Softplus": nn.Softplus(),
    "SELU": nn.SELU(),
    "ELU": nn.CELU(),
    "SiLU": nn.SiLU(),
    "GELU": nn.GELU(),
    "GELUTanh": nn.GELU(approximate="tanh"),
    "Mish": nn.Mish(),
    "Hardtanh:-0.5:2": nn.Hardtanh(-0.5, 2.0),
    "Hardtanh:0:6": nn.ReLU6(),
    "Softsign": nn.Softsign(),
    "PReLU": nn.PReLU(5),
    "Identity": nn.Dropout(),
}
