"""The models as a PyTorch user writes them, with the same parameter names as minivae's.

Used by the benchmarks and by the tests that compare with PyTorch. Each takes the noise as an
argument, so that one step can be checked number for number before anything is timed.
"""

import torch
from torch import nn
from torch.nn import functional as F


class TorchVAE(nn.Module):
    """``elbo(x, eps)`` -> (loss, rec, kl), means over the batch."""

    def elbo(self, x, eps):
        mu, logvar = self.encode(x)
        z = mu + torch.exp(0.5 * logvar) * eps
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) / len(x)
        rec = self.reconstruction_loss(self.decode(z), x) / len(x)
        return rec + kl, rec, kl

    def reconstruction_loss(self, logits, x):
        return F.binary_cross_entropy_with_logits(logits, x.view_as(logits), reduction="sum")


class MLPVAE(TorchVAE):
    def __init__(self, latent_dim=20, hidden=400):
        super().__init__()
        self.latent_dim = latent_dim
        self.fc1 = nn.Linear(784, hidden)
        self.fc21 = nn.Linear(hidden, latent_dim)
        self.fc22 = nn.Linear(hidden, latent_dim)
        self.fc3 = nn.Linear(latent_dim, hidden)
        self.fc4 = nn.Linear(hidden, 784)

    def encode(self, x):
        h = F.relu(self.fc1(x.flatten(1)))
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        return self.fc4(F.relu(self.fc3(z)))


class DeepEncoder(nn.Module):
    def __init__(self, latent_dim, hidden):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(784, hidden), nn.Tanh(), nn.Linear(hidden, hidden))
        self.mu = nn.Linear(hidden, latent_dim)
        self.logvar = nn.Linear(hidden, latent_dim)

    def forward(self, x):
        h = torch.tanh(self.body(x.flatten(1)))
        return self.mu(h), self.logvar(h)


class DeepVAE(TorchVAE):
    """Its KL is sampled: ln q(z|x) - ln p(z)."""

    def __init__(self, latent_dim=50, hidden=200):
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = DeepEncoder(latent_dim, hidden)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(),
            nn.Linear(hidden, 784),
        )  # fmt: skip

    def elbo(self, x, eps):
        mu, logvar = self.encoder(x)
        z = mu + torch.exp(0.5 * logvar) * eps
        kl = 0.5 * torch.sum(z * z - eps * eps - logvar) / len(x)
        rec = self.reconstruction_loss(self.decoder(z), x) / len(x)
        return rec + kl, rec, kl


class ConvEncoder(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.linear = nn.Linear(64 * 7 * 7, 16)
        self.mu = nn.Linear(16, latent_dim)
        self.logvar = nn.Linear(16, latent_dim)

    def forward(self, x):
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        h = self.linear(h.flatten(1))
        return self.mu(h), self.logvar(h)


class ConvDecoder(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.linear = nn.Linear(latent_dim, 64 * 7 * 7)
        self.conv1 = nn.ConvTranspose2d(64, 64, 3, stride=2, padding=1, output_padding=1)
        self.conv2 = nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1)
        self.conv3 = nn.ConvTranspose2d(32, 1, 3, padding=1)

    def forward(self, z):
        h = F.relu(self.linear(z)).view(-1, 64, 7, 7)
        return self.conv3(F.relu(self.conv2(F.relu(self.conv1(h)))))


class ConvVAE(TorchVAE):
    def __init__(self, latent_dim=2):
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = ConvEncoder(latent_dim)
        self.decoder = ConvDecoder(latent_dim)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)


class FaceEncoder(nn.Module):
    def __init__(self, latent_dim, channels, side):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.batch2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 32, 3, stride=2, padding=0)
        self.linear1 = nn.Linear(32 * side * side, 1024)
        self.linear2 = nn.Linear(1024, latent_dim)
        self.linear3 = nn.Linear(1024, latent_dim)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.batch2(self.conv2(x)))
        x = F.relu(self.conv3(x))
        x = F.relu(self.linear1(x.flatten(1)))
        return self.linear2(x), self.linear3(x)


class FaceDecoder(nn.Module):
    def __init__(self, latent_dim, channels, side):
        super().__init__()
        self.decoder_lin = nn.Sequential(
            nn.Linear(latent_dim, 1024), nn.ReLU(), nn.Linear(1024, 32 * side * side), nn.ReLU()
        )
        self.unflatten = nn.Unflatten(1, (32, side, side))
        self.decoder_conv = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 3, stride=2, output_padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, channels, 3, stride=2, padding=1, output_padding=1),
        )

    def forward(self, z):
        return self.decoder_conv(self.unflatten(self.decoder_lin(z)))


class FaceVAE(TorchVAE):
    """Side a multiple of 8; rec is the sum of squared errors."""

    def __init__(self, latent_dim=100, image_size=256, channels=3):
        super().__init__()
        self.latent_dim = latent_dim
        side = image_size // 8 - 1
        self.encoder = FaceEncoder(latent_dim, channels, side)
        self.decoder = FaceDecoder(latent_dim, channels, side)

    def encode(self, x):
        mu, log_sigma = self.encoder(x)
        return mu, 2 * log_sigma

    def decode(self, z):
        return self.decoder(z)

    def reconstruction_loss(self, logits, x):
        return torch.sum((torch.sigmoid(logits) - x) ** 2)
