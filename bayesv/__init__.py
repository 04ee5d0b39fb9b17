"""x"""
from bayesv.covariance import *
from bayesv.datasets import load_dataset
from bayesv.design import *
from bayesv.model import Model
from bayesv.reml import RemlFit
