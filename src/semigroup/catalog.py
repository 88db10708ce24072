"""The one table of methods.

Every part of the package that goes over all methods (the command line, the board, the guide, the common tests) reads it
here. Importing it is cheap: a class is imported when `Method.load` is called.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

__all__ = ["METHODS", "Method", "Paper", "find", "method"]


@dataclass(frozen=True)
class Paper:
    """Where a method was published.

    Attributes
    ----------
    title, authors : str
        As BibTeX wants them.
    year : int
    venue : str
        The proceedings, the journal, or "arXiv preprint".
    arxiv : str
        The number on arXiv.
    kind : {"inproceedings", "article", "misc"}
        BibTeX's type of entry.
    """

    title: str
    authors: str
    year: int
    venue: str
    arxiv: str
    kind: str = "inproceedings"

    def bibtex(self, key: str) -> str:
        """The BibTeX entry."""
        fields = {
            "title": f"{{{self.title}}}",
            "author": self.authors,
            "year": self.year,
            {"inproceedings": "booktitle", "article": "journal", "misc": "howpublished"}[self.kind]: self.venue,
            "eprint": self.arxiv,
            "archivePrefix": "arXiv",
            "url": f"https://arxiv.org/abs/{self.arxiv}",
        }
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@{self.kind}{{{key},\n{lines}\n}}"


@dataclass(frozen=True)
class Method:
    """One row of the catalog.

    Attributes
    ----------
    slug : str
        The name on the command line.
    name : str
        The method's name in the literature.
    target : str
        ``module:Class`` of its estimator.
    job : str
        What it does for its user, in one line.
    takes, gives : str
        Input and output, in the user's words.
    paper : Paper
    keywords : str
        Other words that a user may search by.
    tour : dict
        Constructor arguments of the short run in the tour; empty arguments mean the defaults.
    """

    slug: str
    name: str
    target: str
    job: str
    takes: str
    gives: str
    paper: Paper
    keywords: str = ""
    tour: dict[str, Any] = field(default_factory=dict)

    @property
    def module_name(self) -> str:
        """The slug as a Python name."""
        return self.slug.replace("-", "_")

    @property
    def wing(self) -> str:
        """The subpackage that holds the method."""
        return self.target.split(".")[1]

    def load(self) -> Any:
        """Import and return the estimator's class."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)

    def job_module(self) -> Any:
        """Import and return ``semigroup.jobs.<slug>``: how the method is run on a file."""
        return importlib.import_module(f"semigroup.jobs.{self.module_name}")

    def claims_module(self) -> Any:
        """Import and return ``semigroup.claims.<slug>``, which registers its claims."""
        return importlib.import_module(f"semigroup.claims.{self.module_name}")


METHODS: tuple[Method, ...] = (
    Method(
        slug="light-sb",
        name="Light Schrödinger Bridge",
        target="semigroup.densities.light_sb:LightSB",
        job="Bridge two unpaired point clouds by the entropic transport plan and its diffusion, in closed form.",
        takes="two samples in the same space (CSV, npy, npz, parquet), a noise level",
        gives="the conditional plan (sampling, density, mean), the bridge's drift, paths between the clouds",
        paper=Paper(
            "Light Schrödinger Bridge",
            "Korotin, Alexander and Gushchin, Nikita and Burnaev, Evgeny",
            2024,
            "International Conference on Learning Representations",
            "2310.01174",
        ),
        keywords="optimal transport, single-cell trajectories, interpolation, unpaired translation, coupling, "
        "Schrödinger bridge, trajectory inference, diffusion between distributions",
        tour={"n_components": 10, "max_steps": 3000, "random_state": 0},
    ),
    Method(
        slug="powerwalk",
        name="PowerWalk",
        target="semigroup.graphs.powerwalk:PowerWalk",
        job="Rank the vertices of a large graph from the point of view of each query vertex, in milliseconds.",
        takes="a directed or undirected, weighted or unweighted graph, and query vertices (a text file, one a line)",
        gives="personalised PageRank vectors or top-k lists with the user's own node names",
        paper=Paper(
            "PowerWalk: Scalable Personalized PageRank via Random Walks with Vertex-Centric Decomposition",
            "Liu, Qin and Li, Zhenguo and Lui, John C. S. and Cheng, Jiefeng",
            2016,
            "ACM International Conference on Information and Knowledge Management",
            "1608.06054",
        ),
        keywords="personalized pagerank, recommendation, retrieval, link prediction, random walks, web and social graphs",
        tour={"random_state": 0},
    ),
    Method(
        slug="pde-refiner",
        name="PDE-Refiner",
        target="semigroup.fields.pde_refiner:PDERefiner",
        job="Learn a time stepper from trajectories whose rollout stays accurate for long, and say until when.",
        takes="trajectories of a field on a periodic grid (npz, HDF5, NetCDF)",
        gives="a stepper, rollouts, ensembles and the time until which to believe them",
        paper=Paper(
            "PDE-Refiner: Achieving Accurate Long Rollouts with Neural PDE Solvers",
            "Lippe, Phillip and Veeling, Bastiaan S. and Perdikaris, Paris and Turner, Richard E. and "
            "Brandstetter, Johannes",
            2023,
            "Advances in Neural Information Processing Systems",
            "2308.05732",
        ),
        keywords="forecast a chaotic field, surrogate, neural PDE solver, flow, turbulence, uncertainty",
        tour={"n_steps": 600, "width": 16, "learning_rate": 8e-3, "ema_decay": 0.98, "random_state": 0},
    ),
    Method(
        slug="dadao",
        name="DADAO",
        target="semigroup.optimize.dadao:DADAO",
        job="Minimise a sum of functions over a network of workers, asynchronously, with as few messages as possible.",
        takes="a graph of workers, and a table of their rows with the target last (in Python also gradient functions, and "
        "graphs that change with time)",
        gives="every worker's iterate near the optimum, the log of messages and gradients, the best edge rates",
        paper=Paper(
            "DADAO: Decoupled Accelerated Decentralized Asynchronous Optimization",
            "Nabli, Adel and Oyallon, Edouard",
            2023,
            "International Conference on Machine Learning",
            "2208.00779",
        ),
        keywords="decentralised training, gossip, consensus, agreement of workers, federated, asynchronous, without a server, "
        "how often each link of a network must be used, communication rates",
        tour={"random_state": 0},
    ),
    Method(
        slug="koopman",
        name="Residual dynamic mode decomposition with certificates",
        target="semigroup.dynamics.koopman:ResidualDMD",
        job="Find the spectrum of a dynamical system from snapshots, each eigenvalue with an error bound.",
        takes="snapshot pairs, one long trajectory, or a scalar time series",
        gives="certified eigenvalues, residuals, pseudospectra, modes, forecasts, spectral measures",
        paper=Paper(
            "Limits and Powers of Koopman Learning",
            "Colbrook, Matthew J. and Mezić, Igor and Stepanenko, Alexei",
            2024,
            "arXiv preprint",
            "2407.06312",
            kind="misc",
        ),
        keywords="dynamic mode decomposition, DMD, EDMD, Koopman operator, eigenvalues, pseudospectrum, forecast a time "
        "series, spurious modes, frequencies of a flow, chaotic or periodic",
        tour={"measure_preserving": "circle", "random_state": 0},
    ),
    Method(
        slug="spe",
        name="Stable and expressive positional encodings",
        target="semigroup.graphs.spe:SPERegressor",
        job="Give graph networks positional encodings that do not jump when the graph changes a little.",
        takes="graphs with a target each (a table with SMILES, npz; in Python also PyG data and networkx)",
        gives="positional encodings of the nodes, and a graph regressor built on them",
        paper=Paper(
            "On the Stability of Expressive Positional Encodings for Graphs",
            "Huang, Yinan and Lu, William and Robinson, Joshua and Yang, Yu and Zhang, Muhan and Jegelka, Stefanie "
            "and Li, Pan",
            2024,
            "International Conference on Learning Representations",
            "2310.02579",
        ),
        keywords="predict molecule properties, Laplacian eigenvectors, graph transformer, message passing, stability",
        tour={
            "hidden_dim": 24,
            "n_channels": 8,
            "encoding_dim": 16,
            "rho_layers": 2,
            "n_epochs": 15,
            "batch_size": 32,
            "learning_rate": 2e-3,
            "random_state": 0,
        },
    ),
    Method(
        slug="proximity",
        name="Logarithmic proximity measures",
        target="semigroup.graphs.proximity:ProximityClustering",
        job="Cluster a graph by the proximity of its vertices, with 28 kernels and distances to choose from and compare.",
        takes="a connected undirected graph, weighted or not, and optionally a table of nodes and their known classes (CSV)",
        gives="clusters with the user's own node names, the proximity of all pairs, the families ranked",
        paper=Paper(
            "Do logarithmic proximity measures outperform plain ones in graph clustering?",
            "Ivashkin, Vladimir and Chebotarev, Pavel",
            2017,
            "Models, Algorithms, and Technologies for Network Analysis",
            "1605.01046",
        ),
        keywords="community detection, graph kernel, node distance, communicability, heat kernel, forest, Katz, commute time, "
        "resistance distance, Ward, kernel k-means, spectral clustering, similarity of nodes, link prediction",
        tour={"n_clusters": 12, "random_state": 0},
    ),
    Method(
        slug="amg-clustering",
        name="Bootstrap AMG clustering of attributed graphs",
        target="semigroup.graphs.amg_clustering:BootstrapAMGClustering",
        job="Cluster a graph by its edges and its nodes' attributes together, at a cost linear in the edges.",
        takes="an undirected graph, and optionally a table of its nodes' categories (CSV, parquet), the node's name first",
        gives="clusters with the user's own node names, what they are made of, their modularity, a multigrid solver",
        paper=Paper(
            "Extending Bootstrap AMG for Clustering of Attributed Graphs",
            "D'Ambra, Pasqua and Vassilevski, Panayot S. and Cutillo, Luisa",
            2023,
            "Applied Mathematics and Computation",
            "2109.09367",
        ),
        keywords="community detection, node metadata, categories, attributed network, spectral clustering, algebraic multigrid, "
        "preconditioner of a graph Laplacian, weighted matching, coarsening, segments of customers, social network",
        tour={"n_clusters": 3, "random_state": 0},
    ),
    Method(
        slug="heat-geodesic",
        name="Heat-geodesic embedding",
        target="semigroup.manifolds.heat_geodesic:HeatGeodesic",
        job="Draw a map of noisy points on which distances mean distances along the data.",
        takes="points with annotations (CSV, parquet, npy, npz, HDF5, h5ad) or a graph (GraphML, MatrixMarket, edge list)",
        gives="heat-geodesic distances, a map in a few dimensions, the place of new points on it",
        paper=Paper(
            "A Heat Diffusion Perspective on Geodesic Preserving Dimensionality Reduction",
            "Huguet, Guillaume and Tong, Alexander and De Brouwer, Edward and Zhang, Yanlei and Wolf, Guy and "
            "Adelstein, Ian and Krishnaswamy, Smita",
            2023,
            "Advances in Neural Information Processing Systems",
            "2305.19043",
        ),
        keywords="dimensionality reduction, manifold learning, visualisation, single-cell trajectories, geodesic distance, "
        "PHATE, UMAP, t-SNE, Isomap, diffusion maps, heat kernel, embedding, denoising",
        tour={"random_state": 0},
    ),
    Method(
        slug="rvgp",
        name="RVGP, Gaussian processes of vector fields",
        target="semigroup.manifolds.rvgp:VectorFieldGP",
        job="Predict a vector field between and around the arrows measured on a curved cloud of points, with error bars.",
        takes="points and their vectors, NaN where they are to be predicted (CSV, parquet, npz, HDF5)",
        gives="the field at every point with its covariance, samples of it, its sources, sinks and spirals",
        paper=Paper(
            "Implicit Gaussian process representation of vector fields over arbitrary latent manifolds",
            "Peach, Robert L. and Vinao-Carl, Matteo and Grossman, Nir and David, Michael and Mallas, Emma and Sharp, David and "
            "Malhotra, Paresh A. and Vandergheynst, Pierre and Gosztolai, Adam",
            2024,
            "International Conference on Learning Representations",
            "2309.16746",
        ),
        keywords="interpolate flow on a surface, super-resolution, inpainting, denoising of vectors, tangent bundle, connection "
        "Laplacian, vector diffusion, EEG electrodes, attractor, mesh-free, kriging, uncertainty, singularities, wind",
        tour={"random_state": 0},
    ),
    Method(
        slug="srrw",
        name="Self-repellent random walk",
        target="semigroup.optimize.srrw:SRRW",
        job="Learn over a network with one walking token and no server, at less variance than independent draws.",
        takes="a graph of agents, and a table with one row a node, the target last (in Python any update function)",
        gives="the token's iterate near the solution, the visit frequencies, the covariance that theory predicts",
        paper=Paper(
            "Accelerating Distributed Stochastic Optimization via Self-Repellent Random Walks",
            "Hu, Jie and Doshi, Vishwaraj and Eun, Do Young",
            2024,
            "International Conference on Learning Representations",
            "2401.09665",
        ),
        keywords="decentralised learning, federated, token, random walk SGD, MCMC on graphs, sample nodes of a network, "
        "crawling, Metropolis-Hastings, stochastic approximation, temporal difference, incremental, variance reduction",
        tour={"n_steps": 200_000, "n_tokens": 10, "n_jobs": 2, "random_state": 0},
    ),
    Method(
        slug="gdss",
        name="GDSS, generation of graphs by a system of SDEs",
        target="semigroup.graphs.gdss:GDSS",
        job="Generate new graphs or molecules like those of a list, and measure how alike and how new they are.",
        takes="molecules (CSV with SMILES) or graphs (npz of edge lists, or one GraphML, MatrixMarket or edge list file each)",
        gives="new graphs or SMILES, their distances to held-out ones, validity, uniqueness, novelty",
        paper=Paper(
            "Score-based Generative Modeling of Graphs via the System of Stochastic Differential Equations",
            "Jo, Jaehyeong and Lee, Seul and Hwang, Sung Ju",
            2022,
            "International Conference on Machine Learning",
            "2202.02514",
        ),
        keywords="graph generation, molecule generation, drug design, de novo, score-based diffusion model, synthetic networks, "
        "data augmentation, MMD, graphlet orbits, validity, novelty, ZINC, QM9, predictor-corrector, S4",
        tour={"n_epochs": 50, "n_steps": 50, "random_state": 0},
    ),
    Method(
        slug="rqgnn",
        name="RQGNN, Rayleigh quotient graph neural network",
        target="semigroup.graphs.rqgnn:RQGNN",
        job="Find the few anomalous graphs among many, and see where on the spectrum they differ from the others.",
        takes="labelled graphs, few of them anomalous (a folder of the TU collection, a table with SMILES, npz)",
        gives="the probability that a graph is anomalous, a tuned threshold, Rayleigh quotients, spectral energy curves",
        paper=Paper(
            "Rayleigh Quotient Graph Neural Networks for Graph-level Anomaly Detection",
            "Dong, Xiangyu and Zhang, Xingyi and Wang, Sibo",
            2024,
            "International Conference on Learning Representations",
            "2310.02861",
        ),
        keywords="graph classification, imbalanced classes, rare class, outlier, drug screening, toxicity, activity of "
        "molecules, enzymes, Chebyshev filters, focal loss, graph Fourier transform, smoothness of a signal",
        tour={"hidden_dim": 32, "n_epochs": 25, "batch_size": 128, "random_state": 0},
    ),
    Method(
        slug="pfgmpp",
        name="PFGM++, Poisson flow with D added dimensions",
        target="semigroup.densities.pfgmpp:PFGMpp",
        job="Draw new samples like those of a data set, by a diffusion model with a knob for robustness: D added dimensions.",
        takes="vectors (CSV, parquet, npy) or square images (npz, HDF5: images and labels), with labels or without",
        gives="a generator and denoiser, new samples (of a label), their distance to held-out data, also when disturbed",
        paper=Paper(
            "PFGM++: Unlocking the Potential of Physics-Inspired Generative Models",
            "Xu, Yilun and Liu, Ziming and Tian, Yonglong and Tong, Shangyuan and Tegmark, Max and Jaakkola, Tommi",
            2023,
            "International Conference on Machine Learning",
            "2302.04265",
        ),
        keywords="generate images, generative model, synthetic data, denoising, diffusion model, EDM, Poisson flow, heavy tails, "
        "Student t noise, quantisation, class-conditional, score-based, sampling, Heun, electrostatics",
        tour={"network": "mlp", "n_steps": 1000, "batch_size": 128, "learning_rate": 2e-3, "random_state": 0},
    ),
    Method(
        slug="kde-regimes",
        name="KDE regimes, kernel density estimates in many dimensions",
        target="semigroup.densities.kde_regimes:KDERegimes",
        job="Estimate a density in many dimensions, exactly and fast, with a bandwidth that fits, and say what carries it.",
        takes="points, and optionally others to evaluate (CSV, parquet, npy, npz, HDF5, h5ad)",
        gives="log-densities, how many points carry each, the bandwidths of five rules, thresholds, new samples",
        paper=Paper(
            "Kernel Density Estimators in Large Dimensions",
            "Biroli, Giulio and Mézard, Marc",
            2024,
            "arXiv preprint",
            "2408.05807",
            kind="misc",
        ),
        keywords="kernel density estimation, KDE, Parzen window, bandwidth selection, Scott, Silverman, cross-validation, "
        "likelihood, anomaly score, outlier detection, novelty, curse of dimensionality, memorisation, nearest neighbour, "
        "random energy model, condensation, extreme values, heavy tails",
        tour={"random_state": 0},
    ),
    Method(
        slug="interpolants",
        name="Stochastic interpolants",
        target="semigroup.densities.interpolants:StochasticInterpolant",
        job="Sample one distribution from another by an ODE or an SDE whose noise is chosen after training, with likelihoods.",
        takes="one sample, or two (tables or images: CSV, npy, npz, parquet, HDF5), paired or not",
        gives="samples, transport maps both ways, log-likelihoods, paths; velocity, score and denoiser at any time",
        paper=Paper(
            "Stochastic Interpolants: A Unifying Framework for Flows and Diffusions",
            "Albergo, Michael S. and Boffi, Nicholas M. and Vanden-Eijnden, Eric",
            2023,
            "arXiv preprint",
            "2303.08797",
            kind="misc",
        ),
        keywords="generative model, flow matching, rectified flow, diffusion model, score-based, normalising flow, neural ODE, "
        "density estimation, log-likelihood, domain translation, image generation, Schrödinger bridge, conditional sampling",
        tour={
            "hidden": (64, 64, 64, 64),
            "activation": "relu",
            "learning_rate": 5e-3,
            "halve_every": 400,
            "max_steps": 1500,
            "batch_size": 256,
            "random_state": 0,
        },
    ),
    Method(
        slug="singular-likelihood",
        name="Perturbed likelihood for singular distributions",
        target="semigroup.densities.singular_likelihood:PerturbedGenerator",
        job="Learn to sample points that lie near an unknown curve or surface, by likelihood that does not degenerate.",
        takes="points (CSV, parquet, npy, npz, HDF5, h5ad), and how many dimensions their set has",
        gives="a sampler, codes of the points, log-densities, the noise level, the distance of samples to held-out points",
        paper=Paper(
            "A Likelihood Approach to Nonparametric Estimation of a Singular Distribution Using Deep Generative Models",
            "Chae, Minwoo and Kim, Dongha and Kim, Yongdai and Lin, Lizhen",
            2023,
            "Journal of Machine Learning Research",
            "2105.04046",
            kind="article",
        ),
        keywords="variational autoencoder, VAE, IWAE, decoder variance collapse, generative model, manifold, instance noise, "
        "importance weighted, density estimation, image generation, constraints, synthetic data, manifold overfitting",
        tour={"estimator": "vae", "n_restarts": 1, "n_steps": 1000, "random_state": 0},
    ),
    Method(
        slug="fokker-planck-gap",
        name="Fokker-Planck regularised diffusion",
        target="semigroup.densities.fokker_planck_gap:PotentialDiffusion",
        job="Say how far the ODE samples and likelihoods of a diffusion model can be trusted, and train one that can be.",
        takes="a table of numbers (CSV, parquet, npy, npz); in Python also any differentiable potential or score",
        gives="the gap between ODE and SDE, the Fokker-Planck residual, bounds, samples and log-densities of both laws",
        paper=Paper(
            "Closing the ODE-SDE gap in score-based diffusion models through the Fokker-Planck equation",
            "Deveney, Teo and Stanczuk, Jan and Kreusser, Lisa and Budd, Chris and Schönlieb, Carola-Bibiane",
            2025,
            "Philosophical Transactions of the Royal Society A",
            "2311.15996",
            kind="article",
        ),
        keywords="score-based generative model, probability flow ODE, reverse SDE, likelihood of a diffusion model, "
        "score matching, physics-informed, PINN, regularisation, sampler, Feynman-Kac, Wasserstein bound, audit of a model",
        tour={
            "n_steps": 1000,
            "learning_rate": 2.4e-2,
            "beta": 8.0,
            "horizon": 3.0,
            "residual_weight": 0.05,
            "hidden": (64, 64, 64),
            "batch_size": 256,
            "n_residual": 128,
            "random_state": 0,
        },
    ),
    Method(
        slug="minority-guidance",
        name="Minority guidance",
        target="semigroup.densities.minority_guidance:MinorityGuidance",
        job="Rank the instances of a data set by rarity, and generate more of the rare ones, without labels.",
        takes="vectors (CSV, parquet, npy) or square images (npy, npz, HDF5)",
        gives="a score and a level of rarity for every instance, samples of a wanted level, their distance to the data",
        paper=Paper(
            "Don't Play Favorites: Minority Guidance for Diffusion Models",
            "Um, Soobin and Lee, Suhyeon and Ye, Jong Chul",
            2024,
            "International Conference on Learning Representations",
            "2301.12334",
        ),
        keywords="long tail, rare class, outlier, data augmentation, medical images, stress test, audit of a data set, "
        "classifier guidance, DDPM, DDIM, denoising, low-density sampling, imbalanced classes, rarity score, local outlier "
        "factor, novelty",
        tour={
            "noise_step": 0.2,
            "hidden": (384, 384),
            "n_training_steps": 1000,
            "learning_rate": 5e-3,
            "classifier_steps": 1000,
            "n_sampling_steps": 50,
            "random_state": 0,
        },
    ),
)


def method(slug: str) -> Method:
    """The row of a slug.

    Raises
    ------
    ValueError
        If there is no such method; names the nearest ones.

    Examples
    --------
    >>> method("light-sb").name
    'Light Schrödinger Bridge'
    """
    for row in METHODS:
        if row.slug == slug:
            return row
    import difflib

    near = difflib.get_close_matches(slug, [row.slug for row in METHODS], n=3, cutoff=0.3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"slug must name a method of `semigroup methods`, got {slug!r}{hint}")


def find(words: str) -> list[Method]:
    """Methods by what they are for, the best match first; those far behind it are left out.

    Examples
    --------
    >>> find("bridge two cell populations")[0].slug
    'light-sb'
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [" ".join((row.slug, row.name, row.job, row.takes, row.gives, row.keywords)) for row in METHODS]
    # Pieces of words rather than words: "ranking" finds "rank", "molecular" finds "molecule".
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 6), sublinear_tf=True)
    scores = (vectorizer.fit_transform(texts) @ vectorizer.transform([words]).T).toarray()[:, 0]
    order = sorted(range(len(METHODS)), key=lambda i: -scores[i])
    return [METHODS[i] for i in order if scores[i] > max(0.02, 0.4 * scores[order[0]])]
