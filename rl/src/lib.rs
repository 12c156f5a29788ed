//! The training loop, evaluation, reports and the command line of Sapo.
