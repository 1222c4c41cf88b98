"""Fourier analysis: low and high bands of labels and outputs, while a model is trained and afterwards."""

from musclelora.spectrum.analysis import analyse, load_analysis
from musclelora.spectrum.callback import SpectrumCallback
from musclelora.spectrum.distances import sigma_grid, sigma_range
from musclelora.spectrum.filters import Bands, GaussianFilter
from musclelora.spectrum.inputs import DenseInputs, Inputs, TokenInputs
from musclelora.spectrum.projection import direct_sum, power_spectrum, principal_projection, transform
from musclelora.spectrum.settings import SpectrumSettings

__all__ = [
    "Bands",
    "DenseInputs",
    "GaussianFilter",
    "Inputs",
    "SpectrumCallback",
    "SpectrumSettings",
    "TokenInputs",
    "analyse",
    "direct_sum",
    "load_analysis",
    "power_spectrum",
    "principal_projection",
    "sigma_grid",
    "sigma_range",
    "transform",
]
