"""Exercise 8: find the bug from the loss curve.

The picture beside your copy of this file shows eight trainings of one small VAE (20 latents) on
binarised digits: the loss that was reported, and its parts rec and KL, in nats per image. One is
right. Each of the others has one fault of the list, and no two the same. A right one starts near
784 ln 2 = 543 nats, where every pixel has probability 1/2.
"""

FAULTS = (
    "none",
    "the KL is subtracted",
    "the KL is left out",
    "rec is a mean over pixels",
    "the sigmoid is applied twice",
    "pixels are 0 to 255",
    "gradients are not cleared",
    "the learning rate is 100 times too large",
)
ANSWERS = {"A": "", "B": "", "C": "", "D": "", "E": "", "F": "", "G": "", "H": ""}
